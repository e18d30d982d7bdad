# Sourced by run: tmpfile when its directory, which nothing can choose, is the tree: /tmp is one in a mount namespace of its
# own. With the library of libc's own tmpfile the rig would see a file that it does not know.

if [ -n "$library" ] && wanted "tmpfile in the tree"; then
    place=$(mktemp -d /dev/shm/interposer-tmpfile.XXXXXX)
    cp "$rig" "$library" "$build/programs/tmpfile" "$place/"
    mkdir "$place/mirror" "$place/outside"
    unshare -m bash -c 'mount -t tmpfs tmpfs /tmp && cd /tmp && exec "$1/rig" --library "$1/liblockstep.so" --root /tmp --mirror "$1/mirror" \
        --report "$1/report" --timeout 60 -- "$1/tmpfile" /tmp "$1/outside"' - "$place" > "$place/out" 2> "$place/err" < /dev/null
    code=$?
    { [ $code = 0 ] || cat "$place/report" "$place/err"
      diff <(cd "$place/outside" && "$place/tmpfile" "$place/outside" "$place/outside" < /dev/null) "$place/out"
      [ "$(field operations "$place/report")" -ge 14 ] || echo "not captured: $(cat "$place/report")"; } > "$work/details" 2>&1
    rm -rf "$place"
    if [ -s "$work/details" ]; then fail "tmpfile in the tree" "$work/details"; else pass; fi
fi
