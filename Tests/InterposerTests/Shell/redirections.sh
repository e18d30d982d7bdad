# bash: redirections of every kind, here-documents, descriptors kept open, noclobber, subshells, background jobs
echo one > a; echo two >> a; printf three >> a; cat a
: > empty; > truncated; echo x > "with blank"; echo both > out 2>&1; ls missing 2> err; echo $?
cat > here <<END
a here-document with $((6 * 7))
END
cat <<< "a here-string" > string
exec 3> kept; echo first >&3; echo second >&3; exec 3>&-; cat kept
exec 4<> both-ways; echo read-write >&4; exec 4>&-
set -o noclobber; echo no > a; echo $?; echo forced >| a; set +o noclobber; cat a
(echo in a subshell; (echo nested) >> sub) > sub; cat sub
for i in 1 2 3; do echo "line $i"; done > loop; { echo group; echo more; } >> loop; cat loop
(for i in $(seq 200); do echo "background $i" >> background; done) & wait; tail -1 background
mkdir d; cd d; echo up > ../up; echo here > here; cd ..; cat up d/here
while read line; do echo "got $line"; done < loop > copied; cat copied
echo abc | tee one two | tr a-z A-Z > three; cat one two three
trap 'echo trapped > trapped' EXIT
