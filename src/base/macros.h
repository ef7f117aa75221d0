/* SPDX-License-Identifier: Apache-2.0 */
/* base/macros.h: the attributes and the two macros that the style needs.
 *
 * No cleverer macro exists elsewhere.
 */
#pragma once
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define NODISCARD __attribute__((warn_unused_result))
/* `a` 0: the arguments come as a va_list. */
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define NONNULL(...) __attribute__((nonnull(__VA_ARGS__)))
#define CLEANUP(fn)  __attribute__((cleanup(fn##_p)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof *(a))

/* From a pointer to a member to the struct that embeds it. */
#define container_of(ptr, type, member)                                        \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* DEFINE_CLEANUP(chunk_free, struct chunk *) makes CLEANUP(chunk_free) work. */
#define DEFINE_CLEANUP(fn, type)                                               \
    static inline void fn##_p(type *p)                                         \
    {                                                                          \
        fn(*p);                                                                \
    }

/* Hand ownership to the caller: the value is returned, the variable emptied. */
#define TAKE(p)                                                                \
    ({                                                                         \
        __typeof__(p) taken_ = (p);                                            \
        (p) = NULL;                                                            \
        taken_;                                                                \
    })

/* CLEANUP(fd_close) int fd = -1; */
static inline void
fd_close_p(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

/* CLEANUP(mem_free) char *s = NULL; for plain malloc'ed memory. */
static inline void
mem_free_p(void *p)
{
    free(*(void **)p);
}
