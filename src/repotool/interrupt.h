/* SPDX-License-Identifier: Apache-2.0 */
/* repotool/interrupt.h: Ctrl-C and SIGTERM in a long command.
 *
 * The command looks now and then, and ends in order. The second signal kills.
 */
#pragma once
#include <stdbool.h>

void interrupt_catch(void);
bool interrupt_is_set(void);
