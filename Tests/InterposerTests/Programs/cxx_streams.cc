// C++ streams: ofstream and fstream in their modes, a filebuf on a descriptor and on a FILE, wide streams, cout, cerr and
// clog led into the tree. What libstdc++ writes leaves it by write and writev, or through stdio.
#include "show.h"
#include <ext/stdio_filebuf.h>
#include <ext/stdio_sync_filebuf.h>
#include <fstream>
#include <iostream>
#include <string>
template <typename S> static void state(const char *what, S &stream) { printf("%s: good %d fail %d bad %d\n", what, stream.good(), stream.fail(), stream.bad()); }
static void test(void) {
    std::string large(100000, 'l');
    fill(&large[0], large.size(), 4);
    {
        std::ofstream f("out");
        f << "text " << 42 << ' ' << 1.5 << std::endl << large << std::flush;
        look("out");
        f.seekp(5);
        f << "OVER";
        f.write(large.data(), 20000);
        state("out", f);
    }
    look("out");
    { std::ofstream f("out", std::ios::app); f << "appended"; state("app", f); f.put('!'); }
    { std::fstream f("out", std::ios::in | std::ios::out | std::ios::ate); f << "at the end"; f.seekg(0); std::string word; f >> word; f.seekp(0); f << word << "-" << word; state("in out", f); }
    look("out");
    { std::ofstream f("out", std::ios::trunc | std::ios::binary); f << "binary\n" << '\0'; }
    look("out");
    { std::ofstream f("missing/out"); state("missing", f); f << "nothing"; }
    { std::fstream f("none", std::ios::in | std::ios::out); state("none", f); }
    { std::ofstream f; char own[7]; f.rdbuf()->pubsetbuf(own, sizeof own); f.open("small-buffer"); f << large.substr(0, 5000); f.rdbuf()->pubsetbuf(nullptr, 0); }
    look("small-buffer");
    { std::ofstream f; f.rdbuf()->pubsetbuf(nullptr, 0); f.open("unbuffered"); f << "at once" << 7; look("unbuffered"); }
    {
        int fd = OPEN(open("descriptor", O_CREAT | O_RDWR, 0644));
        __gnu_cxx::stdio_filebuf<char> buffer(fd, std::ios::out);
        std::ostream stream(&buffer);
        stream << "on a descriptor " << large;
        state("descriptor", stream);
    }
    look("descriptor");
    {
        FILE *file = fopen("file", "w");
        __gnu_cxx::stdio_sync_filebuf<char> buffer(file);
        std::ostream stream(&buffer);
        stream << "on a FILE " << large;
        fputs(" and by stdio", file);
        SHOW(fclose(file));
    }
    look("file");
    { std::wofstream f("wide"); f << L"wide " << 7; state("wide", f); }
    look("wide");
    {
        std::ofstream f("moved"), other;
        f << "before ";
        other = std::move(f);
        other << "after";
        other.close();
        state("moved", other);
        other.open("moved-again");
        other << "second";
    }
    look("moved"); look("moved-again");
    for (int synchronized = 0; synchronized < 2; synchronized++) {
        const char *names[] = {"cout-own", "cout-stdio"};
        pid_t child = fork();
        if (!child) {
            std::ios::sync_with_stdio(synchronized);
            if (!freopen(names[synchronized], "w", stdout) || !freopen("cerr", "a", stderr)) _exit(1);
            std::cout << "to cout " << 1 << std::endl << large << "left for exit";
            std::cerr << "to cerr\n";
            std::clog << "to clog\n";
            std::wcerr << L"not wide\n";
            exit(0);
        }
        ended(names[synchronized], child);
        look(names[synchronized]); look("cerr");
    }
    pid_t child = fork();
    if (!child) {
        dup2(open("duplicated", O_CREAT | O_WRONLY, 0644), 1);
        std::cout << "to cout after dup2\n";
        exit(0);
    }
    ended("dup2", child);
    look("duplicated");
}
