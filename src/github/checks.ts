import type { GitHub } from '../engine/ports.ts'
import type { Annotation, CheckRun } from '../report/check-run.ts'
import { type Access, split } from './access.ts'
import { callGitHub } from './error.ts'

/** Check runs over the REST API, version 2022-11-28. */
export function createChecks(
  access: Access,
): Pick<GitHub, 'createCheckRun' | 'updateCheckRun' | 'findCheckRun'> {
  async function sendPages(
    repo: string,
    id: number,
    { check, from, signal }: { check: CheckRun; from: number; signal: AbortSignal },
  ): Promise<void> {
    const client = await access.octokit(repo, { signal })
    // At least one request, and the last one carries the final state: a complete run takes no more annotations.
    for (
      let start = from;
      start === from || start < check.annotations.length;
      start += annotationsPerRequest
    ) {
      const isLast = start + annotationsPerRequest >= check.annotations.length
      const page = check.annotations.slice(start, start + annotationsPerRequest)
      await callGitHub(`update check run "${check.name}"`, signal, (request) =>
        client.rest.checks.update({
          ...split(repo),
          check_run_id: id,
          ...state(isLast ? check : unfinished(check)),
          output: output(check, page),
          request,
        }),
      )
    }
  }

  return {
    async createCheckRun(repo, check, { signal }) {
      const client = await access.octokit(repo, { signal })
      const fitsOne = check.annotations.length <= annotationsPerRequest
      const { data } = await callGitHub(`create check run "${check.name}"`, signal, (request) =>
        client.rest.checks.create({
          ...split(repo),
          name: check.name,
          head_sha: check.headSha,
          external_id: check.externalId,
          ...state(fitsOne ? check : unfinished(check)),
          output: output(check, check.annotations.slice(0, annotationsPerRequest)),
          request,
        }),
      )
      if (!fitsOne) await sendPages(repo, data.id, { check, from: annotationsPerRequest, signal })
      return data.id
    },

    updateCheckRun: (repo, id, check, { annotationsFrom, signal }) =>
      sendPages(repo, id, { check, from: annotationsFrom, signal }),

    async findCheckRun(repo, { name, headSha, externalId }, { signal }) {
      const client = await access.octokit(repo, { signal })
      const runs = await callGitHub(`list check runs "${name}"`, signal, (request) =>
        client.paginate(client.rest.checks.listForRef, {
          ...split(repo),
          ref: headSha,
          check_name: name,
          filter: 'all',
          per_page: 100,
          request,
        }),
      )
      const found = runs.find((run) => run.external_id === externalId)
      return found ? { id: found.id, annotationCount: found.output.annotations_count } : null
    },
  }
}

/** GitHub REST, checks: "The Checks API limits the number of annotations to a maximum of 50 per API request". */
const annotationsPerRequest = 50

function unfinished(check: CheckRun): CheckRun {
  return { ...check, status: 'in_progress', conclusion: null, completedAt: null }
}

/** `conclusion` is sent only with `completed`: alone it would force that status. */
function state({ status, conclusion, startedAt, completedAt }: CheckRun) {
  return {
    status,
    ...(startedAt && { started_at: startedAt }),
    ...(status === 'completed' && conclusion && { conclusion }),
    ...(status === 'completed' && completedAt && { completed_at: completedAt }),
  }
}

function output({ title, summary, text }: CheckRun, annotations: Annotation[]) {
  return {
    title,
    summary,
    ...(text && { text }),
    ...(annotations.length > 0 && { annotations: annotations.map(renderAnnotation) }),
  }
}

function renderAnnotation(annotation: Annotation) {
  return {
    path: annotation.path,
    start_line: annotation.startLine,
    end_line: annotation.endLine,
    ...(annotation.startColumn !== null && { start_column: annotation.startColumn }),
    ...(annotation.endColumn !== null && { end_column: annotation.endColumn }),
    annotation_level: annotation.level,
    title: annotation.title,
    message: annotation.message,
  }
}
