# mv within and across the border, rm, mkdir, rmdir, ln -s, touch, chmod, chown, truncate
mkdir -p a/b/c/d; echo x > a/b/x; mv a/b/x a/y; mv a/b moved; mv moved a/back; mkdir -m 711 mode; rmdir mode
echo over > o; echo under > u; mv o u; cat u; mv -n u a/y; mv -f u a/y; cat a/y
mkdir out; echo inside > out/f; ln -s f out/l; mv out "$2"/out; cat "$2"/out/l; ls
mv "$2"/out in; cat in/l; echo outside > "$2"/g; mv "$2"/g .; cat g; mv g "$2"/; ls
ln -s nowhere dangling; ln -sf a/y dangling; ln -s "$2" way-out; echo by link > way-out/z; cat "$2"/z; ln -sfn in way-out
touch t; touch -d 2002-03-04T05:06:07 t; touch -r t u2; touch -c none; touch -h -d 2005-05-05 dangling; touch existing existing2
chmod 600 t; chmod u+x,g+r t; chmod -R go-rwx a; chmod 2755 in; [ $(id -u) != 0 ] || { chown 12:34 t; chown -h 56 dangling; chown -R 77 a; chgrp 88 in; }
truncate -s 100 t; truncate -s +50 t; truncate -s 10 t; touch -d 2006-06-06 t
mkdir -p big/{1..5}/{a..e}; for f in big/*/*; do echo $f > $f/file; done; rm -r big/2 big/3/c; rm -rf big/4; rm big/1/a/file; find big | sort
rm -f none; rm none 2>/dev/null; echo $?; rmdir big 2>/dev/null; echo $?; rm -rf big; unlink t; ls -R
