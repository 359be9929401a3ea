import { setTimeout as sleep } from 'node:timers/promises'
import { expect, inject, test } from 'vitest'
import { buildCaddyImage } from '../support/caddy-image.ts'
import { eventually, serverYaml, startTown } from '../support/town.ts'

const site = (root: string) => `apiVersion: towline/v1
kind: Site
name: handbook
source: { files: sites/handbook }
root: ${root}
ports: ["80"]
deploy: { update_config: { monitor: 0s } }
`

test('Caddy, as the default command starts it, serves each release and misses no request while links are swapped', async () => {
  const dockerSocket = inject('dockerSocket')
  const image = await buildCaddyImage(dockerSocket)
  const byDefault = serverYaml(dockerSocket).replace(/site: \{.*\}/, `site: ${image}`)
  await using town = await startTown({ dockerSocket, serverYaml: byDefault })

  const first = await town.push({
    write: {
      'apps/handbook.yaml': site('.'),
      'sites/handbook/index.html': '<h1>one</h1>',
      'sites/handbook/new/index.html': '<h1>two</h1>',
    },
  })
  expect((await town.checkRun(first, 'towline / handbook@local')).conclusion).toBe('success')
  expect(await town.fetchApp('handbook')).toBe('<h1>one</h1>')

  const [server] = await town.containers('handbook')
  const url = `http://127.0.0.1:${server?.Ports.find(({ PublicPort }) => PublicPort)?.PublicPort}/`
  const answers: string[] = []
  let isDone = false
  const reading = (async () => {
    while (!isDone) {
      const answer = await fetch(url).then(async (got) => (got.ok ? got.text() : `${got.status}`), String)
      answers.push(answer)
      await sleep(1)
    }
  })()
  const second = await town.push({ write: { 'apps/handbook.yaml': site('new') } })
  expect((await town.checkRun(second, 'towline / handbook@local')).conclusion).toBe('success')
  await eventually('the new release to be read', async () =>
    answers.at(-1) === '<h1>two</h1>' ? true : null,
  )
  isDone = true
  await reading

  expect(new Set(answers)).toEqual(new Set(['<h1>one</h1>', '<h1>two</h1>']))
  const [after] = await town.containers('handbook')
  expect(after?.Id, 'a new release needs no new server').toBe(server?.Id)
})
