import { Type } from 'typebox'

export const SpecName = Type.String({
  pattern: '^[a-z][a-z0-9-]{0,39}$',
  title: 'a name: a small letter, then at most 39 small letters, digits or hyphens',
  examples: ['shop'],
})

export const HostName = Type.String({
  pattern: '^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$',
  title: 'a host name: at most 63 small letters, digits, dots or hyphens',
  examples: ['web-1'],
})

export const HostList = Type.Array(HostName, {
  minItems: 1,
  maxItems: 100,
  uniqueItems: true,
  title: 'a list of 1 to 100 different host names',
  examples: [['web-1', 'web-2']],
})

/** An image reference. Source: the grammar of the distribution project's `reference` package. */
export const ImageReference = Type.String({
  maxLength: 255,
  pattern:
    '^(?:(?:localhost|[a-zA-Z0-9-]+(?:\\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(?=:[0-9]))(?::[0-9]{1,5})?/)?' +
    '[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*)*' +
    '(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$',
  title: 'an image reference',
  examples: ['nginx:1.27', 'ghcr.io/acme/shop:2.1'],
})
