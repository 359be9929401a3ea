/**
 * What the helper container runs. Each is a fixed text: names arrive as `"$1"`, `"$2"`, …, so nothing is ever put
 * into it. Only what POSIX and BusyBox 1.30 know is used. All run below the volume's mount path.
 */

/** `$1` the mount path. Writes four columns an entry, each ended by NUL: site, entry, kind, value. */
export const observeSites = `set -eu
cd "$1"
for site in sites/*/; do
  site=\${site%/}
  [ -d "$site" ] || continue
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
  for release in "$site"/releases/*/; do
    release=\${release%/}
    [ -d "$release" ] || continue
    id=\${release##*/}
    if [ -f "$site/manifests/$id.json" ]; then kind=complete; else kind=incomplete; fi
    printf '%s\\0release\\0%s\\0%s\\0' "$site" "$kind" "$id"
  done
done
`

/** Prints the number and the bytes of the files below the working directory. */
const measure = `find . -type f -exec stat -c %s {} + | awk '{ bytes += $1 } END { printf "%d %.0f", NR, bytes }'`

/** `$1` the site, `$2` the release. Prints what is there and the manifest; nothing where there is no manifest. */
export const readRelease = `set -eu
cd "$1" 2>/dev/null || exit 0
[ -f "manifests/$2.json" ] && [ -d "releases/$2" ] || exit 0
(cd "releases/$2" && ${measure})
echo
cat "manifests/$2.json"
`

/** `$1` the site, `$2` the release. Makes the empty directory a release is uploaded into; clears older ones. */
export const stageRelease = `set -eu
mkdir -p "$1/releases" "$1/manifests"
cd "$1"
rm -rf releases/.*.part manifests/.*.part
mkdir "releases/.$2.part"
`

/**
 * `$1` the site, `$2` the release, `$3` number and bytes of its files, `$4` bytes of its manifest. Gives a complete
 * upload its name, the manifest last. Fails with 4, and says what it found, where the upload is not what it must be.
 * A release of this name that stands already makes room at once, in case it is being served.
 */
export const publishRelease = `set -eu
cd "$1"
found=$(cd "releases/.$2.part" && ${measure})
manifest=$(stat -c %s "manifests/.$2.json.part")
if [ "$found" != "$3" ] || [ "$manifest" != "$4" ]; then
  printf '%s' "$found"
  exit 4
fi
sync -f . 2>/dev/null || sync
rm -f "manifests/$2.json"
if [ -e "releases/$2" ]; then mv -T "releases/$2" "releases/.$2.old.part"; fi
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

/** `$1` the site, `$2` the release. Fails with 3 where \`current\` leads to it, read just before the removal. */
export const removeRelease = `set -eu
cd "$1" 2>/dev/null || exit 0
if [ -L current ] && [ "$(readlink -f current)" = "$(readlink -f "releases/$2")" ]; then exit 3; fi
rm -f "manifests/$2.json"
rm -rf "releases/$2"
`

/** `$1` the site. The links go first, so that nothing leads into a release that is half gone. */
export const removeSite = `set -eu
rm -f "$1/webroot" "$1/current"
rm -rf "$1"
`
