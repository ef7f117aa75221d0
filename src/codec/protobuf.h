/* SPDX-License-Identifier: Apache-2.0 */
/* codec/protobuf.h: request bodies in Kubernetes' protobuf.
 *
 * kubectl 1.32 and newer and controller-runtime send core kinds this way and
 * do not fall back. Decoding only: answers are JSON.
 * Threads: pure functions.
 * source  spec k8swire 10; https://protobuf.dev/programming-guides/encoding/
 */
#pragma once
#include <stdint.h>

#include "codec/jsonx.h"

/* A body that begins with "k8s\0", as the JSON object that the same client
 * would have sent as JSON: with apiVersion and kind, without empty scalars.
 *
 *   errors  INVALID (not protobuf, cut short, text that is not UTF-8);
 *           UNSUPPORTED (a kind without a table: answer 415)
 */
json_t *protobuf_decode(const uint8_t *data, size_t len, struct err *err)
    NODISCARD;
