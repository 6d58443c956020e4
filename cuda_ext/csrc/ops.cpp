// The operators' names, their checks at the door, and their CPU side.

#include <ATen/Parallel.h>
#include <torch/library.h>

#include "checks.h"
#include "triangles.h"

namespace headsplat {
namespace {

std::tuple<at::Tensor, at::Tensor> triangles(const at::Tensor& points, const at::Tensor& faces,
                                             int64_t width, int64_t height, bool cull) {
  TriangleOutputs out = check_triangles(points, faces, width, height, cull);
  const int32_t* corners = out.task.corners;
  for (int64_t i = 0; i < 3 * static_cast<int64_t>(out.task.faces); ++i)
    TORCH_CHECK_INDEX(corners[i] >= 0 && corners[i] < out.task.vertices, "faces: row ", i / 3,
                      " names vertex ", corners[i], " of ", out.task.vertices);
  rasterize_triangles_cpu(out.task, at::get_num_threads());
  return {out.face, out.weights};
}

}  // namespace

TORCH_LIBRARY(headsplat, library) {
  library.def(
      "rasterize_triangles(Tensor points, Tensor faces, int width, int height, bool cull) "
      "-> (Tensor face, Tensor weights)");
}

TORCH_LIBRARY_IMPL(headsplat, CPU, library) { library.impl("rasterize_triangles", &triangles); }

}  // namespace headsplat
