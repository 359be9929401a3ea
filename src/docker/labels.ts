/** Labels Towline's own parts read. All of them are listed in the operations guide. */
export const ownerLabel = 'towline.owner'
export const roleLabel = 'towline.role'
export const inputLabel = 'towline.input'
export const repoLabel = 'towline.repo'
export const appLabel = 'towline.app'
export const previewLabel = 'towline.preview'
