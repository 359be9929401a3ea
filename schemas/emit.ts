import { readFileSync, writeFileSync } from 'node:fs'
import { Server } from './server.ts'
import { Service } from './service.ts'
import { Site } from './site.ts'
import { Towline } from './towline.ts'

// Writes the JSON Schemas that editors read. With `--check` it writes nothing and exits 1 where a file is stale.

const schemas = { service: Service, site: Site, towline: Towline, server: Server }
const check = process.argv.includes('--check')

for (const [name, schema] of Object.entries(schemas)) {
  const file = `${name}.schema.json`
  const url = new URL(file, import.meta.url)
  const heading = { $schema: 'https://json-schema.org/draft/2020-12/schema', $id: file }
  const text = `${JSON.stringify({ ...heading, ...schema }, null, 2)}\n`
  if (check) {
    if (text !== readIfThere(url)) {
      console.error(`schemas/${file} is stale; run \`npm run schemas\``)
      process.exitCode = 1
    }
  } else {
    writeFileSync(url, text)
  }
}

function readIfThere(url: URL): string {
  try {
    return readFileSync(url, 'utf8')
  } catch {
    return ''
  }
}
