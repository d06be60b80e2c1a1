// Written by `fer-edge export mcu`. Do not edit.
#include "golden.h"

namespace fer_edge {

const uint8_t kGoldenInputs[kGoldenCount][kHeight * kWidth] = {
$inputs
};

const int8_t kGoldenOutputs[kGoldenCount][kLabelCount] = {
$outputs
};

}  // namespace fer_edge
