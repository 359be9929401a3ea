import { verify } from 'node:crypto'
import { Refusal } from './answer.ts'
import type { App, State } from './state.ts'

/** GitHub refuses a JWT that lives longer. Source: GitHub docs, "Generating a JSON Web Token for a GitHub App". */
const longestLifeSeconds = 10 * 60

/** How far a clock may run ahead of GitHub's. */
const clockDriftSeconds = 60

/**
 * The App a JSON Web Token speaks for. Order and wording of the refusals are GitHub's, since Octokit reads them.
 * @throws Refusal 401, or 404 where no App has the issuer's id.
 */
export function verifyAppJwt(state: State, jwt: string, nowSeconds = Math.floor(Date.now() / 1000)): App {
  const [header, payload, signature, ...rest] = jwt.split('.')
  if (!header || !payload || !signature || rest.length > 0) throw undecodable()
  if (field(decode(header), 'alg') !== 'RS256') throw undecodable()
  const claims = decode(payload)

  const issuer = Number(field(claims, 'iss'))
  if (!Number.isInteger(issuer)) throw new Refusal(401, "'Issuer' claim ('iss') must be an Integer")
  const app = state.apps.get(issuer)
  if (!app) throw new Refusal(404, 'Integration not found')
  const signed = Buffer.from(`${header}.${payload}`)
  if (!verify('RSA-SHA256', signed, app.publicKey, Buffer.from(signature, 'base64url'))) throw undecodable()

  checkTimes(claims, nowSeconds)
  return app
}

function checkTimes(claims: unknown, nowSeconds: number): void {
  const issuedAt = field(claims, 'iat')
  const expiresAt = field(claims, 'exp')
  if (!isInteger(issuedAt) || issuedAt > nowSeconds + clockDriftSeconds) {
    throw new Refusal(
      401,
      "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
    )
  }
  if (!isInteger(expiresAt) || expiresAt <= nowSeconds) {
    throw new Refusal(
      401,
      "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
    )
  }
  if (expiresAt > nowSeconds + longestLifeSeconds) {
    throw new Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
  }
}

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
  } catch {
    throw undecodable()
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

function isInteger(value: unknown): value is number {
  return Number.isInteger(value)
}

function undecodable(): Refusal {
  return new Refusal(401, 'A JSON web token could not be decoded')
}
