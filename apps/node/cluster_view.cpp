#include "apps/node/cluster_view.h"

#include <optional>
#include <utility>

#include "apps/node/ask_node.h"

namespace jade {
namespace {

namespace json = boost::json;

std::string text_of(const json::value* value) {
  if (value == nullptr) return "";
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

Result<ClusterView> read_view(const HttpResponse& response) {
  if (!response.ok() && parse_media_type(response.content_type) != MediaType::json) {
    return corruption("the answer is not that of a jade node: HTTP status " +
                      std::to_string(response.status));
  }
  auto answer = read_answer(response);
  if (!answer) return answer.status();
  ClusterView view;
  view.json = *std::move(answer);
  view.body = response.body;
  const json::value* version = view.json.get_object().if_contains("catalog_version");
  if (version != nullptr && version->is_number()) {
    json::error_code too_large;
    view.version = version->to_number<uint64_t>(too_large);
  }
  return view;
}

// Why another node may know better, the worst first; ok: none does.
enum class Doubt { takes_no_part, out_of_touch, none };

std::pair<Doubt, Status> doubt_of(const ClusterView& view, uint64_t version_min) {
  const json::object& fields = view.json.get_object();
  if (const json::value* problem = fields.if_contains("problem")) {
    return {Doubt::takes_no_part, unavailable(text_of(problem))};
  }
  const json::value* master = fields.if_contains("master");
  if (master != nullptr && master->is_null()) {
    return {Doubt::out_of_touch, unavailable("it knows of no master")};
  }
  if (view.version < version_min) {
    return {Doubt::out_of_touch, unavailable("it does not know the latest changes yet")};
  }
  return {Doubt::none, Status()};
}

}  // namespace

Result<ClusterView> ask_cluster(AnyNode& nodes, uint64_t version_min) {
  std::optional<ClusterView> best;
  Doubt least = Doubt::takes_no_part;
  auto answer = nodes.ask("GET", "/v1/cluster", "", [&](const HttpResponse& response) -> Status {
    auto view = read_view(response);
    if (!view) return view.status();
    auto [doubt, why] = doubt_of(*view, version_min);
    if (!best || doubt > least) {
      best = *std::move(view);
      least = doubt;
    }
    return why;
  });
  if (!answer && (!best || !may_be_asked_of_another(answer.status().code()))) {
    return answer.status();
  }
  if (least == Doubt::takes_no_part) best->outdated = answer.status();
  return *std::move(best);
}

const json::array& array_of(const ClusterView& view, const char* name) {
  static const json::array empty;
  const json::value* found = view.json.get_object().if_contains(name);
  const json::array* array = found == nullptr ? nullptr : found->if_array();
  return array == nullptr ? empty : *array;
}

const json::object* find_node(const ClusterView& view, const std::string& name) {
  for (const json::value& one : array_of(view, "nodes")) {
    const json::object* node = one.if_object();
    if (node == nullptr) continue;
    if (text_of(node->if_contains("name")) == name || text_of(node->if_contains("id")) == name) {
      return node;
    }
  }
  return nullptr;
}

}  // namespace jade
