#include "sim/node.h"

#include "actors/peer.h"
#include "actors/random.h"

namespace jade::sim {
namespace {

// Some builds outlast whatever else goes on: writes, splits, moves.
uint64_t draw_build_ms(uint64_t& random) {
  constexpr uint64_t most_ms[] = {0, 0, 100, 5000};
  const uint64_t kind = next_random(random) % std::size(most_ms);
  return next_random(random) % (most_ms[kind] + 1);
}

}  // namespace

SimNode::SimNode(uint64_t seed, std::function<uint64_t()> now_ns, NodeConfig config,
                 SimNetwork* network, std::function<void(const std::string&, uint16_t)> connecting,
                 LogSink log, std::function<void(uint64_t, uint64_t)> elected)
    : seed_(seed),
      now_ns_(now_ns),
      config_(std::move(config)),
      disk_(seed, [now_ns] { return now_ns() / 1000; }),
      network_(network),
      connecting_(std::move(connecting)),
      log_(log ? std::move(log) : [](LogLevel, std::string_view, std::string_view) {}),
      elected_(std::move(elected)) {
  disk_.CreateDir("/node");
  config_.data_dir = "/node/data";
}

SimNode::~SimNode() {
  disk_.crash();
  end_process();
}

Status SimNode::start() {
  JADE_ASSERT(!runtime_);
  system_ = std::make_unique<SimSystem>(now_ns_());
  NodeSeams seams;
  seams.env = &disk_;
  seams.seed = mix(seed_, ++starts_);
  seams.detach_blocking = false;
  seams.build_ms = [random = mix(seams.seed, 0xb01dU)]() mutable { return draw_build_ms(random); };
  seams.log = log_;
  seams.elected = elected_;
  if (network_ != nullptr) {
    seams.connector = caf::actor_cast<caf::actor>(system_->system().middleman().actor_handle());
    seams.before_connect = connecting_;
  }
  auto runtime = NodeRuntime::start(system_->system(), std::move(seams), config_);
  if (!runtime.ok()) {
    end_process();
    return runtime.status();
  }
  runtime_ = std::move(*runtime);
  if (network_ != nullptr) {
    auto address = parse_address(config_.cluster_address);
    JADE_ASSERT(address.ok());
    network_->listen(*system_, address->second);
    system_->publish(runtime_->peer(), address->second);
  }
  return {};
}

void SimNode::crash() {
  disk_.crash();
  end_process();
}

void SimNode::lose_power() {
  disk_.lose_power();
  end_process();
}

void SimNode::replace_disk(NodeConfig config) {
  crash();
  disk_.wipe();
  disk_.CreateDir("/node");
  config_ = std::move(config);
  config_.data_dir = "/node/data";
}

void SimNode::put_disk_back(const SimDisk::Image& image) {
  crash();
  disk_.put_back(image);
}

void SimNode::end_process() {
  if (!system_) return;
  if (network_ != nullptr) network_->drop(*system_);
  // What the process still does while it is taken apart, it does to dead files.
  disk_.drain();
  disk_.run_eagerly(true);
  if (runtime_) runtime_->kill();
  while (system_->runnable() > 0) system_->run(0);
  runtime_.reset();
  while (system_->runnable() > 0) system_->run(0);
  // It may have dialled while it ended.
  if (network_ != nullptr) network_->drop(*system_);
  system_.reset();
  disk_.drain();
  disk_.run_eagerly(false);
}

}  // namespace jade::sim
