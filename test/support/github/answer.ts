/** What a route answers. A body of `undefined` is an empty answer (204). */
export type Answer = { status: number; body?: unknown; headers?: Record<string, string> }

/** A refusal in GitHub's shape: `message`, `documentation_url`, `status` and, for a failed validation, `errors`. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly status: number
  readonly errors: FieldError[]
  readonly headers: Record<string, string>

  constructor(
    status: number,
    message: string,
    details: { errors?: FieldError[]; headers?: Record<string, string> } = {},
  ) {
    super(message)
    this.status = status
    this.errors = details.errors ?? []
    this.headers = details.headers ?? {}
  }
}

export type FieldError = { resource: string; field: string; code: string; message?: string }

export function refusalAnswer(refusal: Refusal): Answer {
  const errors = refusal.errors.length > 0 ? { errors: refusal.errors } : {}
  return {
    status: refusal.status,
    body: errorBody(refusal.status, refusal.message, errors),
    headers: refusal.headers,
  }
}

export function errorBody(status: number, message: string, more: object = {}): object {
  return { message, ...more, documentation_url: 'https://docs.github.com/rest', status: String(status) }
}

export function notFound(): Refusal {
  return new Refusal(404, 'Not Found')
}

/** A body that breaks the JSON schema of its route, in GitHub's wording. */
export function invalidRequest(problem: string): Refusal {
  return new Refusal(422, `Invalid request.\n\n${problem}`)
}

/** A body that fits the schema and breaks a rule. */
export function validationFailed(resource: string, field: string, message: string): Refusal {
  return new Refusal(422, 'Validation Failed', { errors: [{ resource, field, code: 'custom', message }] })
}

/** One page of a list and the `Link` header that leads to the others. Defaults and bounds are GitHub's: 30, at most 100. */
export function paginate<T>(items: readonly T[], url: URL): { page: T[]; headers: Record<string, string> } {
  const perPage = perPageOf(url)
  const page = Math.max(1, Number.parseInt(url.searchParams.get('page') ?? '1', 10) || 1)
  const lastPage = Math.max(1, Math.ceil(items.length / perPage))
  const links: string[] = []
  if (page > 1) links.push(link(url, 'prev', page - 1), link(url, 'first', 1))
  if (page < lastPage) links.push(link(url, 'next', page + 1), link(url, 'last', lastPage))
  return {
    page: items.slice((page - 1) * perPage, page * perPage),
    headers: links.length > 0 ? { link: links.join(', ') } : {},
  }
}

export function perPageOf(url: URL): number {
  const asked = Number.parseInt(url.searchParams.get('per_page') ?? '30', 10) || 30
  return Math.min(100, Math.max(1, asked))
}

function link(url: URL, rel: string, page: number): string {
  const target = new URL(url)
  target.searchParams.set('page', String(page))
  return `<${target.href}>; rel="${rel}"`
}
