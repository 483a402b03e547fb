/* compiler.h - what differs between compilers, and nothing else.
 * The one common header that may hold #if. */
#ifndef POSTERN_BASE_COMPILER_H
#define POSTERN_BASE_COMPILER_H

#if defined(__GNUC__) || defined(__clang__)
#if defined(__MINGW32__)
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(gnu_printf, format_at, args_at)))
#else
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#endif
#define MUST_USE __attribute__((warn_unused_result))
#define NO_RETURN __attribute__((noreturn))
#else
#define PRINTF_LIKE(format_at, args_at)
#define MUST_USE
#define NO_RETURN
#endif

#endif
