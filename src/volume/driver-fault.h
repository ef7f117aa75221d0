/* SPDX-License-Identifier: Apache-2.0 */
/* volume/driver-fault.h: a driver that goes wrong on purpose, for tests.
 *
 * Wraps another one. Steps (calls of any slot) are counted from 1.
 *
 *     error:N          step N fails before it does anything
 *     half:N           step N is done, then says it failed
 *     slow:N:MS        step N takes MS longer
 *     kill:N           SIGKILL ourselves after step N
 *
 * `spec` may join several with a comma.
 */
#pragma once
#include "volume/driver.h"

/* Takes `inner`. errors  INVALID (spec) */
struct driver *driver_fault_new(struct driver *inner, const char *spec,
                                struct err *err) NODISCARD;
