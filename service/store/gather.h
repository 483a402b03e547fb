/* gather.h - a store's log is written in few large writes; for the files of this room only.
 *
 * SQLite hands the log to its VFS in pieces, two for each page, which cost a system call each. This
 * VFS stands on another one, keeps pieces that follow each other in memory and passes them on
 * together: at the latest before the sync that makes a commit durable, and before anything is read
 * from the log or done to its size. A write that fails then fails that sync instead, which is the
 * same commit. All other files go to the VFS below as they are.
 *
 * Only for a connection with synchronous=FULL (store_options.gather_log): with less, SQLite shows a
 * commit to other connections without a sync, thus before it is in the file, and they fail to read.
 * Threads: as the connection. */
#ifndef POSTERN_STORE_GATHER_H
#define POSTERN_STORE_GATHER_H

/* The name under which it is registered for this process, on top of that VFS (NULL: the system's);
 * the name of the VFS below where there is no memory for it, and where that does not exist. */
const char *gather_vfs(const char *below);

#endif
