/* rename across the border of the tree: EXDEV by design, so that mv copies (which is captured). */
#include "show.h"
static char out[PATH_MAX], out_directory[PATH_MAX];
static void test(void) {
    snprintf(out, sizeof out, "%s/file", outside);
    snprintf(out_directory, sizeof out_directory, "%s/directory", outside);
    SHOW(write(OPEN(creat(out, 0644)), "from outside", 12));
    SHOW(write(OPEN(creat("inside", 0644)), "from inside", 11));
    SHOW(rename(out, "in"));
    SHOW(rename("inside", out));
    SHOW(rename(out, "inside"));
    SHOW(mkdir(out_directory, 0755));
    SHOW(rename(out_directory, "in"));
    SHOW(mkdir("directory", 0755));
    SHOW(rename("directory", out_directory));
    SHOW(renameat2(AT_FDCWD, out, AT_FDCWD, "in", RENAME_NOREPLACE));
    look("inside"); look("in"); look("directory");
    SHOW(rename(out, out_directory)); /* both outside: as ever */
    strcat(out_directory, "/moved");
    SHOW(rename(out, out_directory));
    look("inside");
}
