// $title, written by `fer-edge export mcu`. Do not edit. sha256 of the file: $sha256
#include "model.h"

namespace fer_edge {

alignas(16) const unsigned char kModel[kModelBytes] = {
$bytes
};

}  // namespace fer_edge
