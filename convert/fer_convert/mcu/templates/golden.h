// Inputs and the outputs of LiteRT's reference kernels for them, written by `fer-edge export mcu`. Do not edit.
#ifndef FER_EDGE_GOLDEN_H_
#define FER_EDGE_GOLDEN_H_

#include <cstdint>

#include "model.h"

namespace fer_edge {

constexpr int kGoldenCount = $golden_count;
extern const uint8_t kGoldenInputs[kGoldenCount][kHeight * kWidth];
extern const int8_t kGoldenOutputs[kGoldenCount][kLabelCount];

}  // namespace fer_edge

#endif  // FER_EDGE_GOLDEN_H_
