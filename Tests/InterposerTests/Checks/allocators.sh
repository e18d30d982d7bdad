# Sourced by run: other memory allocators preloaded together with the library: their constructors run early, and what they
# open, map and unmap passes the wrappers.

for allocator in libjemalloc.so.2 libtcmalloc_minimal.so.4; do
    for program in stdio threads processes robust_fork cxx_streams; do
        name="$allocator with $program"
        [ -n "$library" ] && wanted "$name" || continue
        found=$(ldconfig -p | sed -n "s/.*$allocator .*x86-64.*=> //p" | head -n 1)
        : > "$work/details"
        prepare "$work/allocator" ""
        if [ -z "$found" ]; then echo "$allocator is not installed" > "$work/details"
        else
            LD_PRELOAD=$found under_rig "$work/allocator" "" "$build/programs/$program" "$work/allocator/tree" "$work/allocator/outside" || cat "$work/allocator/report" "$work/allocator/err" > "$work/details"
            prepare "$work/allocator-plain" ""
            (cd "$work/allocator-plain/tree" && "$build/programs/$program" "$work/allocator-plain/tree" "$work/allocator-plain/outside" < /dev/null 2> /dev/null) | diff - "$work/allocator/out" >> "$work/details"
        fi
        if [ -s "$work/details" ]; then fail "$name" "$work/details"; else pass; fi
    done
done
