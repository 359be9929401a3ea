import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type Scalar,
  type YAMLMap,
} from 'yaml'
import { type Finding, messageOf, type Place } from './finding.ts'
import { keyText, locate, type Range } from './locate.ts'
import type { Problem } from './spec.ts'

/** A document of a YAML file as plain data, and where each of its values stands. */
export type SourceDocument = {
  /** null where the text could not be read; the problems say why. */
  value: object | null
  /** What the document calls itself, even where it could not be read. */
  name: string | null
  /** True where the text itself has problems, though it could be read: its value must not be used as it stands. */
  hasFaults: boolean
  place: Place
  /** The place of a value; of a key below it where one is given. Never outside the file. */
  placeOf(path: readonly string[], key?: string): Place
  problemOf(finding: Finding): Problem
}

/** Larger files are refused unread. A spec has a few hundred lines; 1 MiB leaves room for a Site's inline files. */
export const maxFileBytes = 1024 * 1024

/** More documents than a person keeps in one file. */
const maxDocuments = 200
/** Nesting no spec needs; keeps recursion shallow. */
const maxDepth = 32
/** Values of one document, aliases written out; with `maxAliases` it stops an alias bomb at once. */
const maxNodes = 20_000
const maxAliases = 100

/** Refusal of a file by its size alone, so that nobody has to load it. */
export function tooLarge(path: string, size: number): Problem {
  return {
    path,
    ...startOfFile,
    message: `the file has ${size} bytes, more than ${maxFileBytes}`,
    hint: 'Split it, or keep the files of a Site in a folder (`source: {files: …}`)',
  }
}

/** The text of a file's bytes, or the problem that it is too large or not UTF-8. */
export function decodeFile(
  path: string,
  bytes: Uint8Array,
): { text: string; problem: null } | { text: null; problem: Problem } {
  if (bytes.length > maxFileBytes) return { text: null, problem: tooLarge(path, bytes.length) }
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), problem: null }
  } catch {
    const problem = {
      path,
      ...startOfFile,
      message: 'the file is not UTF-8 text',
      hint: 'Save it as UTF-8',
    }
    return { text: null, problem }
  }
}

/**
 * Reads a YAML 1.2 file of one or more documents. Refuses what makes YAML surprising or dangerous: directives, tags,
 * duplicate and merge keys, numbers that lose digits, and anything beyond the bounds above. Never throws.
 */
export function readDocuments({ path, text }: { path: string; text: string }): {
  documents: SourceDocument[]
  problems: Problem[]
} {
  const bytes = Buffer.byteLength(text)
  if (bytes > maxFileBytes) return { documents: [], problems: [tooLarge(path, bytes)] }
  const lines = countLines(text)
  // The built-in check for duplicate keys is quadratic: 20,000 keys take 49 s.
  const parsed = parseAllDocuments(text, { uniqueKeys: false, prettyErrors: false })
  const all = Array.isArray(parsed) ? parsed : []
  const problems: Problem[] = []
  const placeOfRange = (range: Range) => toPlace(range, { text, lines })
  if (all.length > maxDocuments) {
    problems.push({
      path,
      ...startOfFile,
      message: `the file has ${all.length} documents, more than ${maxDocuments}`,
      hint: 'Split it into several files',
    })
    return { documents: [], problems }
  }
  const documents = all
    .filter((document) => document.errors.length > 0 || !isEmpty(document))
    .map((document) => {
      const { value, faults, targets } = readDocument(document, text)
      problems.push(
        ...faults.map(({ range, message, hint }) => ({ path, ...placeOfRange(range), message, hint })),
      )
      const placeOf = (at: readonly string[], key?: string) =>
        placeOfRange(
          document.contents
            ? locate(document.contents, { path: at, targets, ...(key === undefined ? {} : { key }) })
            : { start: 0, end: 0 },
        )
      const problemOf = (finding: Finding) => ({
        path,
        ...placeOf(finding.at, finding.key),
        message: messageOf(finding),
        hint: finding.hint,
      })
      return {
        value,
        name: nameOf(document),
        hasFaults: faults.length > 0,
        place: placeOf([]),
        placeOf,
        problemOf,
      }
    })
  return { documents, problems }
}

/** Reads a file that holds one document; a second one is a problem. `first` is null where there is none. */
export function readOneDocument(file: { path: string; text: string }): {
  first: SourceDocument | null
  problems: Problem[]
} {
  const { documents, problems } = readDocuments(file)
  const [first = null, second] = documents
  const tooMany = { at: [], message: 'a second document stands here', hint: 'Keep one document in this file' }
  return { first, problems: second ? [...problems, second.problemOf(tooMany)] : problems }
}

const startOfFile: Place = { line: 1, column: 1, endLine: 1, endColumn: 1 }

type Fault = { range: Range; message: string; hint: string }

type Reading = {
  faults: Fault[]
  /** The node each anchor stands for so far. */
  anchors: Map<string, Node>
  /** What each alias stands for: the newest anchor of its name when it was first met. */
  targets: Map<Alias, Node>
  nodeCount: number
  aliasCount: number
  /** False where the value lacks something, so that a check of it would report what is not wrong. */
  isWhole: boolean
  /** True once a bound was passed: nothing more is read. */
  isStopped: boolean
}

function readDocument(
  document: Document,
  text: string,
): {
  value: object | null
  faults: Fault[]
  targets: Map<Alias, Node>
} {
  const targets = new Map<Alias, Node>()
  const fault = directiveFault(document, text) ?? syntaxFault(document)
  if (fault) return { value: null, faults: [fault], targets }
  const reading: Reading = {
    faults: [],
    anchors: new Map(),
    targets,
    nodeCount: 0,
    aliasCount: 0,
    isWhole: true,
    isStopped: false,
  }
  const value = toValue(document.contents, { depth: 0, reading })
  if (reading.isWhole && (typeof value !== 'object' || value === null || Array.isArray(value))) {
    spoil(reading, document.contents, {
      message: 'the document is not a map',
      hint: 'Start with `apiVersion: towline/v1` and `kind:`',
    })
  }
  const isUsable = reading.isWhole && typeof value === 'object'
  return { value: isUsable ? value : null, faults: reading.faults, targets }
}

function directiveFault(document: Document, text: string): Fault | null {
  if (!document.directives?.yaml.explicit) return null
  const start = Math.max(0, text.lastIndexOf('%YAML', document.range?.[0]))
  return {
    range: { start, end: start + '%YAML'.length },
    message: 'the document has a `%YAML` directive',
    hint: 'Remove it; files are read as YAML 1.2',
  }
}

/** The first error alone: what follows it mostly follows from it. */
function syntaxFault({ errors, warnings }: Document): Fault | null {
  const error = errors[0] ?? warnings.find(({ code }) => code !== 'TAG_RESOLVE_FAILED')
  if (!error) return null
  const isTooDeep = error.code === 'RESOURCE_EXHAUSTION'
  const hints: Partial<Record<typeof error.code, string>> = {
    TAB_AS_INDENT: 'Indent with spaces',
    BLOCK_AS_IMPLICIT_KEY: 'Quote a value that holds ": ", and check the indentation',
    BAD_INDENT: 'Check the indentation and that every bracket is closed',
    BAD_ALIAS: 'Quote a value that starts with * or &',
    MISSING_CHAR: 'Check that every quote and bracket is closed',
    RESOURCE_EXHAUSTION: 'Nest less deeply',
  }
  return {
    range: { start: error.pos[0], end: error.pos[1] },
    message: `not valid YAML: ${isTooDeep ? 'nested too deeply' : error.message.slice(0, 200)}`,
    hint: hints[error.code] ?? 'Check the indentation, colons and quotes around here',
  }
}

function toValue(node: unknown, { depth, reading }: { depth: number; reading: Reading }): unknown {
  if (reading.isStopped || node === null) return null
  if (isAlias(node)) return aliasValue(node, { depth, reading })
  if (!isMap(node) && !isSeq(node) && !isScalar(node)) return null
  if (depth > maxDepth || ++reading.nodeCount > maxNodes) {
    reading.isStopped = true
    return spoil(reading, node, {
      message:
        depth > maxDepth
          ? `the document is nested deeper than ${maxDepth} levels`
          : `the document has more than ${maxNodes} values`,
      hint: 'Make it simpler; check what its aliases repeat',
    })
  }
  if (node.anchor) reading.anchors.set(node.anchor, node)
  if (node.tag !== undefined) {
    return spoil(reading, node, {
      message: `the tag \`${node.tag.slice(0, 60)}\` is not supported`,
      hint: 'Remove it; quote a value that starts with !',
    })
  }
  if (isMap(node)) return mapValue(node, { depth, reading })
  if (isSeq(node)) return node.items.map((item) => toValue(item, { depth: depth + 1, reading }))
  return scalarValue(node, reading)
}

function aliasValue(alias: Alias, { depth, reading }: { depth: number; reading: Reading }): unknown {
  const target = reading.targets.get(alias) ?? reading.anchors.get(alias.source)
  if (!target) {
    return spoil(reading, alias, {
      message: `the alias \`*${alias.source.slice(0, 60)}\` stands for nothing`,
      hint: `Mark a value before it with &${alias.source.slice(0, 60)}, or quote a text that starts with *`,
    })
  }
  reading.targets.set(alias, target)
  if (++reading.aliasCount > maxAliases) {
    reading.isStopped = true
    return spoil(reading, alias, {
      message: `the document uses aliases more than ${maxAliases} times`,
      hint: 'Write the values out',
    })
  }
  return toValue(target, { depth: depth + 1, reading })
}

function mapValue(map: YAMLMap, { depth, reading }: { depth: number; reading: Reading }): object {
  const entries = new Map<string, unknown>()
  for (const pair of map.items) {
    const key = keyText(pair)
    const at = isScalar(pair.key) ? pair.key : map
    if (key === null || key === '<<' || key.includes('\0')) {
      spoil(reading, at, keyFault(key))
    } else if (entries.has(key)) {
      reading.faults.push({
        range: rangeOf(at),
        message: `the key \`${key.slice(0, 60)}\` stands here twice`,
        hint: 'Keep one of the two',
      })
    } else {
      entries.set(key, toValue(pair.value, { depth: depth + 1, reading }))
    }
  }
  return Object.fromEntries(entries)
}

function keyFault(key: string | null): { message: string; hint: string } {
  if (key === null) return { message: 'a key is not a plain text', hint: 'Quote it' }
  if (key === '<<') {
    return {
      message: 'the merge key `<<` is not supported',
      hint: 'Write the keys out, or use an alias for the whole value',
    }
  }
  return { message: 'a key holds a NUL character', hint: 'Remove it' }
}

function scalarValue(scalar: Scalar, reading: Reading): string | number | boolean | null {
  const { value, source } = scalar
  if (typeof value === 'string' && value.includes('\0')) {
    return spoil(reading, scalar, { message: 'a text holds a NUL character', hint: 'Remove it' })
  }
  if (typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER) {
    return spoil(reading, scalar, {
      message: `the number ${(source ?? '').slice(0, 60)} is too large to be read exactly`,
      hint: 'Quote it',
    })
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null
}

function spoil(
  reading: Reading,
  node: Node | null,
  { message, hint }: { message: string; hint: string },
): null {
  reading.isWhole = false
  reading.faults.push({ range: rangeOf(node), message, hint })
  return null
}

function rangeOf(node: Node | null): Range {
  return { start: node?.range?.[0] ?? 0, end: node?.range?.[1] ?? 0 }
}

function isEmpty({ contents }: Document): boolean {
  return contents === null || (isScalar(contents) && contents.value === null && contents.tag === undefined)
}

function nameOf({ contents }: Document): string | null {
  const name = isMap(contents) ? contents.get('name') : null
  return typeof name === 'string' ? name : null
}

/** Counted here, because the parser's own count misses line breaks inside what it could not read. */
function countLines(text: string): LineCounter {
  const lines = new LineCounter()
  lines.addNewLine(0)
  for (const { index } of text.matchAll(/\n/g)) lines.addNewLine(index + 1)
  return lines
}

/** The part of a range that lies on its first line, so that an annotation can have columns. */
function toPlace({ start, end }: Range, { text, lines }: { text: string; lines: LineCounter }): Place {
  // What lacks at the end of a file lacks on its last line: behind the final line break there is none to show it on.
  const last = text.length - (/\r?\n?$/.exec(text.slice(-2))?.[0].length ?? 0)
  const from = Math.min(start, last)
  const { line, col } = lines.linePos(from)
  const rest = text.slice(from, Math.min(Math.max(end, from), text.length))
  const width = rest.search(/[\r\n]/)
  const column = Math.max(col, 1)
  return {
    line: Math.max(line, 1),
    column,
    endLine: Math.max(line, 1),
    endColumn: column + (width < 0 ? rest.length : width),
  }
}
