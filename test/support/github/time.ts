/** A time as GitHub writes it: ISO 8601 in UTC, whole seconds. */
export function isoSeconds(time: Date | number = Date.now()): string {
  return new Date(time).toISOString().replace(/\.\d{3}Z$/, 'Z')
}
