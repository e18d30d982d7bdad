# cp in its forms, install, dd
seq 5000 > a; cp a b; cp -p a c; touch -d 2003-04-05 a; cp -p a dated; chmod 640 a; cp -a a d
mkdir -p t/u; cp a t/u/; ln -s u t/link; cp -r t t2; cp -a t t3; cp -rp t "$2"/t; cp -r "$2"/t t4
cp --sparse=always a sparse; cp -f a b; cp -u a b; cp --remove-destination a b; cp -b a c 2>/dev/null; cp a missing/x 2>/dev/null; echo $?
cp "$2"/t/u/a from-outside; cp a "$2"/to-outside; cmp a "$2"/to-outside && echo same
truncate -s 3M big; cp big big2; head -c 3000000 /dev/zero | tr '\0' q > big3; cp big3 big4; cmp big3 big4 && echo same
install -m 700 a installed; install -d i/j/k; install -D -m 600 a i/j/l/m; [ $(id -u) != 0 ] || install -o 12 -g 34 a owned
dd if=a of=dd bs=1000 conv=fsync status=none; dd if=a of=dd bs=100 count=2 seek=3 conv=notrunc status=none
dd if=a of=dd bs=50 count=1 oflag=append conv=notrunc,fdatasync status=none; dd if=a of=sync bs=500 count=3 oflag=dsync status=none
dd if=/dev/zero of=large bs=1M count=3 conv=fsync status=none; dd if=a of=dd2 bs=7 status=none; cmp a dd2 && echo same
cat a b > both; cat < a >> both; wc -c both
