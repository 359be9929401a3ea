/** The known word a mistyped one most likely means, or null. `depends_on` and `DependsOn` both mean `dependsOn`. */
export function suggest(word: string, known: readonly string[]): string | null {
  if (word.length > 40) return null
  const typed = fold(word)
  const ranked = known
    .map((candidate) => ({ candidate, distance: editDistance(typed, fold(candidate)) }))
    .sort((a, b) => a.distance - b.distance)
  const best = ranked[0]
  return best && best.distance <= Math.max(1, Math.floor(typed.length / 3)) ? best.candidate : null
}

function fold(word: string): string {
  return word.toLowerCase().replace(/[_-]/g, '')
}

/** Least number of letters to add, drop, change or swap with their neighbour to turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const next = [row]
    for (let column = 1; column <= b.length; column++) {
      const change = a[row - 1] === b[column - 1] ? 0 : 1
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      next[column] = Math.min(
        at(last, column) + 1,
        at(next, column - 1) + 1,
        at(last, column - 1) + change,
        swapped ? at(beforeLast, column - 2) + 1 : Number.POSITIVE_INFINITY,
      )
    }
    beforeLast = last
    last = next
  }
  return at(last, b.length)
}

function at(row: number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY
}
