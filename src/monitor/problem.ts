import type { FastifyReply } from 'fastify'

/** Answers with a problem document (RFC 9457). */
export function problem(reply: FastifyReply, status: number, detail: string) {
  return reply
    .status(status)
    .type('application/problem+json')
    .send({ type: 'about:blank', title: titles[status] ?? 'Request failed', status, detail })
}

const titles: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  413: 'Content Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}
