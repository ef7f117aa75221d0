/* SPDX-License-Identifier: Apache-2.0 */
/* repo/repo-id.h: UUIDs as 16 bytes, as the formats keep them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"

#define REPO_ID_BYTES 16

void repo_id_random(uint8_t id[REPO_ID_BYTES]); /* version 4 */
void repo_id_format(const uint8_t id[REPO_ID_BYTES], char text[UUID_STR_SIZE]);
/* False unless it is 36 characters of lower case. */
bool repo_id_parse(const char *text, uint8_t id[REPO_ID_BYTES]);
/* The first bytes of a digest as a UUID of version 4. */
void repo_id_of_digest(const uint8_t *digest, uint8_t id[REPO_ID_BYTES]);
