/* random.h - unpredictable bytes from the system. Threads: any.
 * Failure: a system without randomness cannot serve; the process ends with a message. */
#ifndef POSTERN_PLATFORM_RANDOM_H
#define POSTERN_PLATFORM_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t n);
uint32_t random_below(uint32_t bound); /* uniform in [0, bound); 0 for bound 0 */

#endif
