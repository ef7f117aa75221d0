/* SPDX-License-Identifier: Apache-2.0 */
/* codec/format.h: the version of every object of a repository.
 *
 * source  docs/formats/repository.md, "Versions and features"
 *
 * Version 1 is released: tests/golden/v1 opens and is restored in every run of
 * the tests. What changes these bytes is a new version beside it.
 */
#pragma once

#define FORMAT_VERSION      1
#define FORMAT_VERSION_TEXT "1" /* in labels of keys and in key files */
