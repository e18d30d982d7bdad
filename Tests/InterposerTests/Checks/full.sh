# Part of run: a tree on a file system of 8 MiB that gets full, of both kinds; plain and under the rig, whose mirror has room.
# Needs root, as mounts do.

full() { # full KIND DIRECTORY plain|covered: the tree is the small file system while the program runs
    local kind=$1 directory=$2 how=$3
    prepare "$directory" ""
    case $kind in
        tmpfs) mount -t tmpfs -o size=8m none "$directory/tree" ;;
        ext4) truncate -s 8M "$directory/image" && mkfs.ext4 -q -m 0 -b 4096 -O ^has_journal "$directory/image" && mount -o loop "$directory/image" "$directory/tree" && rmdir "$directory/tree/lost+found" ;;
    esac || return 1
    if [ "$how" = plain ]; then
        (cd "$directory/tree" && "$build/programs/full" "$directory/tree" "$directory/outside" < /dev/null > "$directory/out" 2> "$directory/err")
    else
        under_rig "$directory" "" "$build/programs/full" "$directory/tree" "$directory/outside"
    fi
    local code=$?
    list "$directory/tree" > "$directory/list"
    umount "$directory/tree"
    return $code
}

for kind in tmpfs ext4; do
    name="full $kind"
    wanted "$name" || continue
    : > "$work/details"
    full $kind "$work/plain" plain || { echo "plain: exit code $?"; cat "$work/plain/err"; } >> "$work/details"
    full $kind "$work/covered" covered || { echo "covered:"; cat "$work/covered/report" "$work/covered/err"; } >> "$work/details"
    grep -q '= -1 ENOSPC' "$work/plain/out" || echo "it did not get full" >> "$work/details"
    for part in out list; do
        diff "$work/plain/$part" "$work/covered/$part" > "$work/diff" || { echo "$part differs (< plain, > covered):"; cat "$work/diff"; } >> "$work/details"
    done
    if [ -s "$work/details" ]; then fail "$name" "$work/details"; else pass; fi
done
