# programs that write through stdio or replace files: tee -a, sort -o, split, sed -i, awk, tar, gzip, find -delete, shuf, uniq
seq 3000 -1 1 > n; sort -n -o n n; head -1 n; sort -r n | tee sorted | tee -a all > copy; echo end | tee -a all; wc -l all
split -l 700 n part-; ls part-*; cat part-* | cmp - n && echo same; split -b 1000 -d n bytes-; rm bytes-0*; ls
sed -i s/1/one/ n; sed -i.backup s/2/two/g n; head -3 n; cksum < n.backup; sed -n 'w written' n; wc -l written
awk '{print > ("awk-" $1 % 3)}' n.backup; wc -l awk-0 awk-1; awk 'BEGIN {printf "appended" >> "n"}'; tail -c 20 n
mkdir -p tree/d; cp n tree/d/; ln -s d/n tree/l; chmod 700 tree/d; touch -d 2004-04-04 tree/d/n; tar --mtime=2010-01-01 -cf archive.tar tree; tar tf archive.tar
mkdir x; tar xf archive.tar -C x; tar xpf archive.tar -C x; tar cf - tree | (mkdir y; cd y; tar xf -); find x y | sort
if command -v gzip >/dev/null; then gzip -kn n; gzip -dc n.gz | cmp - n && echo same; gzip -n n.backup; gunzip n.backup.gz; fi
tar czf "$2"/packed.tgz tree; tar xzf "$2"/packed.tgz; tar --mtime=2010-01-01 -rf archive.tar sorted; tar tf archive.tar | tail -1
uniq n unique; comm -12 n n > common 2>/dev/null; cut -c1 n | tail -2; join n n > joined 2>/dev/null; paste n n > pasted; csplit -s sorted 100 200; ls xx*
find . -name 'awk-*' -delete; shuf -i 1-10 -o shuffled; sort -n shuffled -o shuffled; mktemp -p . XXXXXX > /dev/null; ls | wc -l; find . -maxdepth 1 -name '??????' -size 0 -delete
diff n sorted > differences; patch -s -o patched n < differences 2>/dev/null; cmp patched sorted 2>/dev/null && echo same; yes | head -5000 > yes; cksum < yes
