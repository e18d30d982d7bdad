/* Extended attributes and access control lists: set, replaced, removed, inherited, by path, link and descriptor. */
#include "show.h"
#include <endian.h>
#include <sys/xattr.h>
static char large[65537];
static void attributes(const char *path) {
    char names[4096], value[65536];
    ssize_t count = llistxattr(path, names, sizeof names);
    look(path);
    for (char *name = names; count > 0 && name < names + count; name += strlen(name) + 1) {
        ssize_t n = lgetxattr(path, name, value, sizeof value);
        unsigned long digest = 14695981039346656037ul;
        for (ssize_t i = 0; i < n; i++) digest = (digest ^ (unsigned char)value[i]) * 1099511628211ul;
        printf("    %s: %ld bytes %016lx\n", name, (long)n, digest);
    }
}
/* linux/posix_acl_xattr.h */
struct acl { uint32_t version; struct { uint16_t tag, permissions; uint32_t id; } entry[5]; } __attribute__((packed));
static struct acl acl(unsigned owner, unsigned user, unsigned group, unsigned mask, unsigned other) {
    return (struct acl){htole32(2), {{1, owner, -1u}, {2, user, 12345}, {4, group, -1u}, {16, mask, -1u}, {32, other, -1u}}};
}
static void test(void) {
    fill(large, sizeof large, 9);
    int fd = OPEN(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(write(fd, "content", 7));
    SHOW(setxattr("a", "user.one", "value", 5, 0));
    SHOW(setxattr("a", "user.with/a slash", "", 0, 0));
    SHOW(fsetxattr(fd, "user.two", large, 900, XATTR_CREATE));
    SHOW(fsetxattr(fd, "user.two", large, 1500, XATTR_CREATE));
    SHOW(fsetxattr(fd, "user.two", large, 1500, XATTR_REPLACE));
    SHOW(fsetxattr(fd, "user.three", "x", 1, XATTR_REPLACE));
    SHOW(lsetxattr("a", "user.four", "four", 4, 0));
    SHOW(removexattr("a", "user.one")); SHOW(removexattr("a", "user.one"));
    SHOW(fremovexattr(fd, "user.four")); SHOW(lremovexattr("a", "user.with/a slash")); SHOW(fsetxattr(fd, "user.five", "", 0, 0));
    attributes("a");
    struct acl access = acl(6, 7, 4, 5, 0), inherited = acl(7, 5, 5, 7, 1);
    SHOW(setxattr("a", "system.posix_acl_access", &access, sizeof access, 0));
    attributes("a");
    SHOW(chmod("a", 0626));
    attributes("a");
    SHOW(fremovexattr(fd, "system.posix_acl_access"));
    attributes("a");
    SHOW(mkdir("d", 0750));
    SHOW(setxattr("d", "system.posix_acl_default", &inherited, sizeof inherited, 0));
    SHOW(setxattr("d", "user.of a directory", "value", 5, 0));
    SHOW(close(OPEN(open("d/file", O_CREAT | O_WRONLY, 0666)))); SHOW(mkdir("d/below", 0777)); SHOW(symlink("file", "d/link"));
    SHOW(mknod("d/below/node", S_IFREG | 0640, 0));
    attributes("d"); attributes("d/file"); attributes("d/below"); attributes("d/below/node");
    SHOW(setxattr("d/link", "user.through the link", "value", 5, 0));
    attributes("d/file");
    SHOW(lsetxattr("d/link", "user.of a link", "value", 5, 0));
    SHOW(lsetxattr("d/link", "trusted.of a link", "value", 5, 0));
    attributes("d/link");
    SHOW(lremovexattr("d/link", "trusted.of a link"));
    SHOW(rename("a", "d/a")); SHOW(link("d/a", "b"));
    SHOW(setxattr("b", "user.by another name", "value", 5, 0));
    attributes("d/a");
    int temporary = OPEN(open(".", O_TMPFILE | O_RDWR, 0644));
    SHOW(fsetxattr(temporary, "user.before its name", "value", 5, 0));
    SHOW(linkat(temporary, "", AT_FDCWD, "c", AT_EMPTY_PATH));
    attributes("c");
    SHOW(setxattr("missing", "user.x", "", 0, 0)); SHOW(setxattr("b", "", "", 0, 0)); SHOW(setxattr("b", "nonsense", "", 0, 0));
    SHOW(setxattr("b", "user.x", large, 65537, 0)); SHOW(setxattr("b", "user.x", "", 0, 8)); SHOW(setxattr("b", "user.x", (char *)8, 5, 0));
    SHOW(setxattr("b", (char *)8, "", 0, 0)); SHOW(setxattr("b", "system.posix_acl_access", "rubbish", 7, 0)); SHOW(fsetxattr(777, "user.x", "", 0, 0));
    SHOW(fsetxattr(OPEN(open("b", O_PATH)), "user.x", "", 0, 0));
    char name[300] = "user.";
    memset(name + 5, 'n', 260);
    SHOW(setxattr("b", name, "", 0, 0));
    attributes("b");
    for (int i = 0; i < 100; i++)
        if (fsetxattr(fd, "user.loop", &i, sizeof i, 0) || (i % 3 == 0 && fremovexattr(fd, "user.loop"))) printf("round %d failed\n", i);
    attributes("b");
}
