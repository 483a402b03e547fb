/* handle.h - what a store is made of; for the files of this room only. */
#ifndef POSTERN_STORE_HANDLE_H
#define POSTERN_STORE_HANDLE_H

#include "platform/durable_file.h"
#include "store/store.h"

#include <sqlite3.h>

struct store {
    sqlite3 *db;
    char *path;
    char *vfs;      /* NULL: the system's */
    char *recovery; /* may be NULL */
    struct file_lock lock;
    uint64_t max_bytes;
    uint64_t page_bytes;
    unsigned busy_timeout_ms;
    sqlite3_stmt *free_pages, *pages;
};

#endif
