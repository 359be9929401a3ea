import { type Alias, isAlias, isMap, isScalar, isSeq, type Node, type Pair } from 'yaml'

/** Offsets of a piece of text, from 0. */
export type Range = { start: number; end: number }

/**
 * The text a path of a document stands for: the value where it is a scalar, else the key that leads to it. With
 * `key`, the key of that name below the path. A path that leads nowhere gets the deepest text there is.
 * `targets` says what each alias stands for.
 */
export function locate(
  root: Node,
  { path, key, targets }: { path: readonly string[]; key?: string; targets: ReadonlyMap<Alias, Node> },
): Range {
  let node: Node | null = root
  let best = rangeOf(root) ?? { start: 0, end: 0 }
  for (const segment of path) {
    const [keyNode, value] = step(resolve(node, targets), segment)
    best = (keyNode && rangeOf(keyNode)) ?? (value && rangeOf(value)) ?? best
    node = value
  }
  const target = resolve(node, targets)
  if (key !== undefined) {
    const [keyNode] = step(target, key)
    return (keyNode && rangeOf(keyNode)) ?? best
  }
  const isFilled = isScalar(target) && target.range && target.range[1] > target.range[0]
  return (isFilled ? rangeOf(target) : null) ?? best
}

/** The text of a map's key, or null where it is no plain text. */
export function keyText(pair: Pair): string | null {
  if (!isScalar(pair.key)) return null
  const { value, source } = pair.key
  if (typeof value === 'string') return value
  return value === null || source === undefined ? null : source
}

function step(node: Node | null, segment: string): [Node | null, Node | null] {
  if (isMap(node)) {
    const pair = node.items.find((item) => keyText(item) === segment)
    return pair ? [asNode(pair.key), asNode(pair.value)] : [null, null]
  }
  return isSeq(node) ? [null, asNode(node.items[Number(segment)])] : [null, null]
}

function resolve(node: Node | null, targets: ReadonlyMap<Alias, Node>): Node | null {
  return isAlias(node) ? (targets.get(node) ?? null) : node
}

function asNode(value: unknown): Node | null {
  return isMap(value) || isSeq(value) || isScalar(value) || isAlias(value) ? value : null
}

function rangeOf(node: Node): Range | null {
  return node.range ? { start: node.range[0], end: node.range[1] } : null
}
