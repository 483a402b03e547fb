/* folder.h - a folder of its own for a test, where this system keeps such. */
#ifndef POSTERN_SUPPORT_FOLDER_H
#define POSTERN_SUPPORT_FOLDER_H

#include <stddef.h>

/* Makes TMPDIR (TEMP, /tmp) + /postern-NAME-RANDOM. Ends the test program when it cannot. */
void test_folder(const char *name, char *out, size_t size);

/* As sleep(3), in milliseconds. */
void test_sleep_ms(unsigned ms);

#endif
