// Runs the model on the golden inputs and compares the outputs: 0 if all are within 1 of LiteRT's reference kernels.
// It needs TensorFlow Lite Micro and nothing else; start here for a program of your own.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "golden.h"
#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) uint8_t arena[fer_edge::kArenaBytes];

int Top(const int8_t* logits) {
  int top = 0;
  for (int i = 1; i < fer_edge::kLabelCount; ++i) {
    if (logits[i] > logits[top]) top = i;
  }
  return top;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  const tflite::Model* model = tflite::GetModel(fer_edge::kModel);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    MicroPrintf("the model has schema version %d, not %d", static_cast<int>(model->version()), TFLITE_SCHEMA_VERSION);
    return 2;
  }
  fer_edge::Resolver resolver;
  if (fer_edge::RegisterOperators(resolver) != kTfLiteOk) return 2;
  tflite::MicroInterpreter interpreter(model, resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) return 2;
  MicroPrintf("arena: %u of %u bytes", static_cast<unsigned>(interpreter.arena_used_bytes()),
              static_cast<unsigned>(sizeof(arena)));

  int worst = 0;
  for (int n = 0; n < fer_edge::kGoldenCount; ++n) {
    memcpy(interpreter.input(0)->data.raw, fer_edge::kGoldenInputs[n], sizeof(fer_edge::kGoldenInputs[n]));
    if (interpreter.Invoke() != kTfLiteOk) return 2;
    const int8_t* logits = interpreter.output(0)->data.int8;
    int largest = 0;
    for (int i = 0; i < fer_edge::kLabelCount; ++i) {
      const int difference = abs(logits[i] - fer_edge::kGoldenOutputs[n][i]);
      if (difference > largest) largest = difference;
    }
    MicroPrintf("golden %d: %s, largest difference %d", n, fer_edge::kLabels[Top(logits)], largest);
    if (largest > worst) worst = largest;
  }
  MicroPrintf("largest difference of %d golden inputs: %d", fer_edge::kGoldenCount, worst);
  return worst > 1 ? 1 : 0;
}
