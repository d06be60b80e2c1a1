// $title, written by `fer-edge export mcu`. Do not edit.
#ifndef FER_EDGE_MODEL_H_
#define FER_EDGE_MODEL_H_

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace fer_edge {

// The .tflite file, aligned as TensorFlow Lite Micro needs it.
extern const unsigned char kModel[];
constexpr size_t kModelBytes = $model_bytes;

// Enough for the tensor arena on a 32-bit processor: $activation_bytes bytes of activations, and what the interpreter
// keeps. `interpreter.arena_used_bytes()` is the exact number.
constexpr size_t kArenaBytes = $arena_bytes;

// One grey image, row by row, as $input_dtype: stored = pixel$input_formula for pixels from 0 (black) to 255.
constexpr int kHeight = $height;
constexpr int kWidth = $width;

// The face is centred; the crop's side is $margin times the side of the box of OpenCV's Haar cascade.
constexpr float kCropMargin = ${margin}f;

// Logits: logit = kOutputScale * (stored - kOutputZeroPoint). Probabilities: softmax(logit / kTemperature).
constexpr float kOutputScale = ${output_scale}f;
constexpr int kOutputZeroPoint = $output_zero_point;
constexpr float kTemperature = ${temperature}f;

constexpr int kLabelCount = $label_count;
constexpr const char* kLabels[kLabelCount] = {$labels};

using Resolver = tflite::MicroMutableOpResolver<$operator_count>;

// Registers the operators of the model.
inline TfLiteStatus RegisterOperators(Resolver& resolver) {
$register_calls
  return kTfLiteOk;
}

}  // namespace fer_edge

#endif  // FER_EDGE_MODEL_H_
