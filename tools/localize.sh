#!/bin/sh
# localize.sh OUT.a DIR OBJECT...: one archive with one object, in which symbols of hidden visibility are local.
set -e
out=$1 dir=$2
shift 2
mkdir -p "$dir"
${LD:-ld} -r -o "$dir/vane.o" "$@"
${OBJCOPY:-objcopy} --localize-hidden "$dir/vane.o"
rm -f "$out"
${AR:-ar} rcsD "$out" "$dir/vane.o"
