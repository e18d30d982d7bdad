// std::filesystem: copies by copy_file_range and sendfile, resize, rename, links, permissions, times, remove_all.
#include "show.h"
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
namespace fs = std::filesystem;
template <typename F> static void run(const char *what, F call) {
    std::error_code error;
    auto result = call(error);
    printf("%s = %ld %s\n", what, (long)result, error ? strerrorname_np(error.value()) : "");
}
#define RUN(call) run(#call, [&](std::error_code &e) { return (call); })
#define DO(call) run(#call, [&](std::error_code &e) { call; return 0; })
static void test(void) {
    std::string large(3000000, 'l'), elsewhere = std::string(outside) + "/";
    fill(&large[0], large.size(), 8);
    std::ofstream("a") << large;
    RUN(fs::copy_file("a", "b", e));
    RUN(fs::copy_file("a", "b", e));
    std::ofstream("short") << "short";
    RUN(fs::copy_file("short", "b", fs::copy_options::overwrite_existing, e));
    RUN(fs::copy_file("a", "b", fs::copy_options::skip_existing, e));
    RUN(fs::copy_file("a", elsewhere + "a", e));
    RUN(fs::copy_file(elsewhere + "a", "from-outside", e));
    look("b"); look("from-outside");
    std::ofstream("empty");
    RUN(fs::copy_file("empty", "empty-copy", e));
    look("empty-copy");
    DO(fs::resize_file("a", 1000, e));
    DO(fs::resize_file("b", 2000000, e));
    DO(fs::resize_file("none", 1, e));
    look("a"); look("b");
    RUN(fs::create_directories("d/e/f", e));
    RUN(fs::create_directory("d", e));
    RUN(fs::create_directory("d/g", "d/e", e));
    std::ofstream("d/e/f/file") << "deep";
    DO(fs::create_symlink("file", "d/e/f/link", e));
    DO(fs::create_directory_symlink("e", "d/to-e", e));
    DO(fs::copy("d", "copy", fs::copy_options::recursive | fs::copy_options::copy_symlinks, e));
    look("copy/e/f/file"); look("copy/e/f/link"); look("copy/to-e");
    DO(fs::rename("copy", "renamed", e));
    DO(fs::rename("renamed/e/f/file", "renamed/file", e));
    DO(fs::rename("none", "other", e));
    DO(fs::permissions("b", fs::perms::owner_all, e));
    DO(fs::permissions("b", fs::perms::group_read, fs::perm_options::add, e));
    DO(fs::last_write_time("b", fs::file_time_type(std::chrono::seconds(-5000000000)), e));
    look("b");
    RUN(fs::remove("short", e));
    RUN(fs::remove("short", e));
    RUN(fs::remove("renamed", e));
    RUN(fs::remove_all("renamed", e));
    RUN(fs::remove_all("d/e", e));
    RUN(fs::remove_all("none", e));
    look("renamed"); look("d");
    for (int i = 0; i < 50; i++) std::ofstream("d/" + std::to_string(i)) << i;
    RUN(fs::remove_all("d", e));
    look("d");
}
