import { type Static, type TObject, type TProperties, type TSchema, type TSchemaOptions, Type } from 'typebox'

/*
 * The words of the schemas serve three readers. `description` is shown by editors and stands in the docs. `title` is a
 * noun phrase that finishes the sentence "… is not <title>", so it names every bound; `examples` finish the hint.
 * A `format` of our own is checked by the parser of that name in src/spec/formats.ts; editors pass over it.
 */

/** A map of which every key is known. */
export function closed<P extends TProperties>(properties: P, options: TSchemaOptions = {}): TObject<P> {
  return Type.Object(properties, { title: 'a map', ...options, additionalProperties: false })
}

/** A whole document: closed, but for keys that start with `x-`, which are ignored as in Compose. */
export function documentOf<P extends TProperties>(properties: P, options: TSchemaOptions): TObject<P> {
  return Type.Object(properties, {
    title: 'a map',
    ...options,
    patternProperties: { '^x-': true },
    additionalProperties: false,
  })
}

/** A map whose keys the author chooses: `keys` says what a key looks like, `values` what stands behind it. */
export function mapOf<V extends TSchema>(keys: TSchema, values: V, options: TSchemaOptions) {
  return Type.Unsafe<Record<string, Static<V>>>({
    type: 'object',
    ...options,
    propertyNames: keys,
    additionalProperties: values,
  })
}

export const ApiVersion = Type.Literal('towline/v1', {
  title: 'a version this Towline knows',
  description: 'Version of the format.',
  examples: ['towline/v1'],
})
