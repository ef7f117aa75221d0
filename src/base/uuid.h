/* SPDX-License-Identifier: Apache-2.0 */
/* base/uuid.h: random names. Source: RFC 4122, version 4. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define UUID_STR_SIZE 37 /* 36 characters, lower case, and NUL */

void uuid_random(char buf[UUID_STR_SIZE]);
bool uuid_is_valid(const char *s); /* 8-4-4-4-12 hex digits, either case */

/* `len` characters of Kubernetes' alphabet for generated names, and NUL:
 * no vowels and no look-alikes, so no words. `buf` holds len + 1 bytes. */
void uuid_random_suffix(char *buf, size_t len);

/* `len` bytes from the kernel's generator; aborts if it cannot give them. */
void uuid_random_bytes(void *buf, size_t len);
