/* lossy_vfs.h - an SQLite VFS that forgets what was not synced, in the way of SQLite's test6.c.
 *
 * It stands on the system's own VFS: the files are real, and the process reads what it wrote.
 * Beside that it keeps what a disk would surely have: the bytes of the last xSync, and the writes
 * since. A power cut takes the sure bytes and, of every write since, sector by sector (512 bytes,
 * within the range written: SQLITE_IOCAP_POWERSAFE_OVERWRITE is what SQLite assumes), the new
 * bytes, the old ones, or rubbish. From then on every call fails, until lossy_vfs_restart puts
 * those bytes into the files. The shared memory of a WAL does not survive.
 *
 * The second use: the n-th call fails with an error of one's choice, once or from then on.
 * Threads: one. State is global, as a VFS's is; lossy_vfs_reset before each test. */
#ifndef POSTERN_SUPPORT_LOSSY_VFS_H
#define POSTERN_SUPPORT_LOSSY_VFS_H

#include <stdbool.h>
#include <stdint.h>

#define LOSSY_VFS "lossy"

void lossy_vfs_register(void); /* any number of times */
void lossy_vfs_reset(void);    /* forgets files, cuts and faults; all files must be closed */

/* What changes a file: write, truncate, sync, delete. Counted from lossy_vfs_reset on. */
uint64_t lossy_vfs_changes(void);
/* Calls that a fault may hit: the above and open, read, size, lock, shared memory. */
uint64_t lossy_vfs_calls(void);
uint64_t lossy_vfs_syncs(void);

/* The power goes at the n-th change from now (0: the next one), instead of it. */
void lossy_vfs_cut_in(uint64_t changes, uint64_t seed);
bool lossy_vfs_is_dead(void);
/* Puts the remains into the files and lives again; every file must have been closed. */
void lossy_vfs_restart(void);

enum lossy_fault { LOSSY_NONE, LOSSY_IOERR, LOSSY_FULL };
/* The n-th call from now fails (FULL: the n-th write, since only those run full). */
void lossy_vfs_fail_in(enum lossy_fault fault, uint64_t calls, bool from_then_on);
bool lossy_vfs_fault_struck(void);
void lossy_vfs_heal(void); /* no fault any more */

/* With it synced data is lost too: proves that the tests would see a lost message. */
void lossy_vfs_ignore_syncs(bool ignore);

#endif
