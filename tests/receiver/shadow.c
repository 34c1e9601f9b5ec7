/* A disk that forgets: loaded into a process (LD_PRELOAD), it keeps what the process has fsynced, and only that.
 *
 * For SHADOW_SOURCE, a folder, SHADOW_TARGET gets two folders:
 *     files/<inode>     the content of a file as of its last fsync
 *     folders/<inode>   the entries of a folder as of its last fsync: "<d or f> <inode> <name>\n"
 * Both are written under another name and renamed, so that a kill leaves the old or the new. Then the real fsync is left
 * out: it would only cost time. tests/receiver/power_loss.py builds the tree that a power loss would leave.
 *
 * Harsher than a disk: what was written and not fsynced is always lost, and so is a new name or a rename without an
 * fsync of the folder.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void fail(const char *what)
{
    fprintf(stderr, "shadow: %s: %s\n", what, strerror(errno));
    abort(); /* a shadow with holes would prove nothing */
}

static int copy_file(int from, FILE *to)
{
    char buffer[1 << 16];
    off_t position = 0;
    ssize_t got;
    while ((got = pread(from, buffer, sizeof buffer, position)) > 0) {
        if (fwrite(buffer, 1, (size_t)got, to) != (size_t)got)
            return -1;
        position += got;
    }
    return (int)got;
}

static int copy_entries(const char *path, FILE *to)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    if (folder == NULL)
        return -1;
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        fprintf(to, "%c %lu %s\n", entry->d_type == DT_DIR ? 'd' : 'f', (unsigned long)entry->d_ino, entry->d_name);
    }
    return closedir(folder);
}

static void keep(int descriptor)
{
    const char *source = getenv("SHADOW_SOURCE"), *target = getenv("SHADOW_TARGET");
    char link[64], path[PATH_MAX], lock_path[PATH_MAX], name[PATH_MAX], temporary[PATH_MAX];
    struct stat status;
    ssize_t length;
    FILE *out;
    int is_folder, lock, own, result;

    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if ((length = readlink(link, path, sizeof path - 1)) < 0)
        fail("readlink");
    path[length] = '\0';
    if (source == NULL || target == NULL || strncmp(path, source, strlen(source)) != 0)
        return;
    if (fstat(descriptor, &status) != 0)
        fail("fstat");
    /* One at a time, in all threads and processes: else an older listing could replace a newer one. */
    snprintf(lock_path, sizeof lock_path, "%s/lock", target);
    if ((lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0 || flock(lock, LOCK_EX) != 0)
        fail(lock_path);
    is_folder = S_ISDIR(status.st_mode);
    snprintf(name, sizeof name, "%s/%s/%lu", target, is_folder ? "folders" : "files", (unsigned long)status.st_ino);
    snprintf(temporary, sizeof temporary, "%s/new/%d-%d", target, (int)getpid(), (int)syscall(SYS_gettid));
    if ((out = fopen(temporary, "w")) == NULL)
        fail(temporary);
    if (is_folder) {
        result = copy_entries(path, out);
    } else {
        if ((own = open(link, O_RDONLY)) < 0) /* the caller's descriptor may be for writing only */
            fail(link);
        result = copy_file(own, out);
        close(own);
    }
    if (result != 0 || fclose(out) != 0 || rename(temporary, name) != 0)
        fail(name);
    close(lock);
}

int fsync(int descriptor)
{
    keep(descriptor);
    return 0;
}

int fdatasync(int descriptor)
{
    keep(descriptor);
    return 0;
}
