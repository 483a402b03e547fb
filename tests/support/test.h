/* test.h - cmocka with the headers that it wants before it. */
#ifndef POSTERN_SUPPORT_TEST_H
#define POSTERN_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#endif
