// `jade bench`: what it takes, refuses and puts out.
#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cmath>
#include <sstream>

#include "apps/bench/growth_bench.h"
#include "apps/bench/make_data.h"
#include "apps/bench/report.h"
#include "apps/bench/workload.h"
#include "apps/commands.h"
#include "storage/bytes.h"
#include "tests/apps/scratch_dir.h"

namespace jade {
namespace {

namespace json = boost::json;

std::string fbin(uint32_t dimension, const std::vector<float>& values) {
  std::string out;
  append_u32(out, static_cast<uint32_t>(values.size()) / dimension);
  append_u32(out, dimension);
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return out;
}

std::string ibin(uint32_t columns, const std::vector<int32_t>& ids) {
  std::string out;
  append_u32(out, static_cast<uint32_t>(ids.size()) / columns);
  append_u32(out, columns);
  out.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t));
  return out;
}

// Four rows and two queries of two dimensions; three of the four are neighbours.
struct Files {
  ScratchDir dir;
  WorkloadOptions options;
  Files() {
    options.base = dir.write("base.fbin", fbin(2, {0, 3, 0, 5, 4, 0, 6, 0}));
    options.queries = dir.write("queries.fbin", fbin(2, {0, 4, 5, 0}));
    options.k = 3;
  }
  void truth(uint32_t columns, const std::vector<int32_t>& ids) {
    options.truth = dir.write("truth.ibin", ibin(columns, ids));
  }
  std::string failure() const {
    auto workload = load_workload(options);
    CHECK(!workload.ok());
    return workload.ok() ? "" : workload.status().message();
  }
};

// The exit code of `jade bench ARGUMENTS`.
int bench(std::vector<std::string> arguments) {
  CLI::App app;
  int exit_code = -1;
  add_bench_command(app, exit_code);
  arguments.insert(arguments.begin(), "bench");
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code();
  }
  return exit_code;
}

std::string read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE_FIXTURE(Files, "the truth is taken from its file, or computed where that does not fit") {
  auto workload = load_workload(options);
  REQUIRE_MESSAGE(workload.ok(), workload.status().to_string());
  CHECK(workload->base.rows == 4);
  CHECK(workload->queries.rows == 2);
  CHECK(workload->truth.columns == 3);
  CHECK(workload->truth.row(0)[2] == 2);
  CHECK(workload->truth.row(1)[2] == 0);

  // Wrong, to be told from what is computed; and more than is needed.
  truth(4, {3, 2, 1, 0, 0, 1, 2, 3, 1, 1, 1, 1});
  workload = load_workload(options);
  REQUIRE_MESSAGE(workload.ok(), workload.status().to_string());
  CHECK(workload->truth.columns == 4);
  CHECK(workload->truth.row(0)[0] == 3);
  CHECK(workload->truth.row(1)[0] == 0);

  // Not that of a part of the base.
  options.rows = 3;
  workload = load_workload(options);
  REQUIRE_MESSAGE(workload.ok(), workload.status().to_string());
  CHECK(workload->base.rows == 3);
  CHECK(workload->truth.columns == 3);
  CHECK(workload->truth.row(1)[0] == 2);

  // But of a part of the queries.
  options.rows = SIZE_MAX;
  options.queries_max = 1;
  workload = load_workload(options);
  REQUIRE(workload.ok());
  CHECK(workload->queries.rows == 1);
  CHECK(workload->truth.row(0)[0] == 3);
}

TEST_CASE_FIXTURE(Files, "under cosine base and queries get the length 1") {
  options.metric = "cosine";
  auto workload = load_workload(options);
  REQUIRE(workload.ok());
  CHECK(workload->metric == Metric::cosine);
  CHECK(workload->base.values == std::vector<float>{0, 1, 0, 1, 1, 0, 1, 0});
  CHECK(workload->queries.values == std::vector<float>{0, 1, 1, 0});
}

TEST_CASE_FIXTURE(Files, "files that do not fit together are refused with what is wrong") {
  options.metric = "l3";
  CHECK(failure().find("l3") != std::string::npos);
  options.metric = "l2";
  options.k = 5;
  CHECK(failure() == "the base has fewer than k rows");
  options.k = 3;
  truth(3, {0, 1, 2});
  CHECK(failure().find("--truth has fewer rows") == 0);
  truth(2, {0, 1, 2, 3});
  CHECK(failure().find("--truth has fewer rows") == 0);
  truth(3, {0, 1, 2, 0, 1, 4});
  CHECK(failure() == "--truth names row 4, which the base lacks");
  truth(3, {0, 1, 2, 0, 1, -1});
  CHECK(failure() == "--truth names row -1, which the base lacks");
  options.truth = dir.write("cut.ibin", ibin(3, {0, 1, 2, 0, 1, 2}).substr(0, 20));
  CHECK(failure().find("is not a file of neighbours") != std::string::npos);
  options.truth = dir.path("missing.ibin");
  CHECK(failure().find("missing.ibin") == dir.path("").size());
  options.truth.clear();
  options.queries = dir.write("other.fbin", fbin(3, {1, 2, 3}));
  CHECK(failure() == "the base has dimension 2, the queries 3");
  options.queries = dir.write("none.fbin", fbin(2, {}));
  CHECK(failure() == "there are no queries");
  options.queries = dir.write("lines.ndjson", "{}\n");
  CHECK(failure().find("NDJSON") != std::string::npos);
  options.base = dir.path("missing.fbin");
  CHECK(failure().find("missing.fbin") != std::string::npos);
}

TEST_CASE_FIXTURE(Files, "what the command cannot do is its exit code") {
  std::vector<std::string> good = {"--base",      options.base, "--queries", options.queries,
                                   "--skip-node", "--k",        "3",         "--ef",
                                   "16"};
  auto with = [&](std::initializer_list<std::string> more) {
    std::vector<std::string> all = good;
    all.insert(all.end(), more);
    return bench(all);
  };
  CHECK(with({"--skip-peers"}) == 0);
  CHECK(with({"--skip-filters", "--skip-scans", "--only-ours", "--quantization", "none,rabitq",
              "--vectors", "memory,disk"}) == 0);
  CHECK(with({"--skip-filters", "--skip-scans", "--only-ours", "--datatype",
              "float32,float16,uint8"}) == 0);
  CHECK(with({"--skip-filters", "--skip-scans", "--skip-peers", "--growth"}) == 0);
  CHECK(with({"--quantization", "none", "--vectors", "disk"}) == 1);
  CHECK(with({"--skip-peers", "--datatype", "int8"}) == 1);
  CHECK(with({"--skip-peers", "--datatype", "float16"}) == 0);
  std::string fractions = dir.write("fractions.fbin", fbin(2, {1, 2, 3, 0.5f}));
  CHECK(bench({"--base", fractions, "--queries", options.queries, "--skip-node", "--skip-peers",
               "--skip-filters", "--datatype", "uint8"}) == 1);
  CHECK(with({"--vectors", "tape"}) == 1);
  CHECK(with({"--skip-peers", "--skip-filters", "--skip-scans"}) == 0);
  CHECK(bench({}) == 1);
  CHECK(bench({"--base", options.base}) == 1);
  CHECK(bench({"--queries", options.queries}) == 1);
  CHECK(with({"--skip-peers", "--metric", "l3"}) == 1);
  CHECK(with({"--skip-peers", "--truth", dir.path("missing.ibin")}) == 1);
  CHECK(with({"--skip-peers", "--json", dir.path("no/where.json")}) == 1);
  // Wrong usage has CLI11's own codes.
  CHECK(with({"--ef", "0"}) > 1);
  CHECK(with({"--ef", "ten"}) > 1);
  CHECK(with({"--k", "0"}) > 1);
  CHECK(with({"--rows", "0"}) > 1);
  CHECK(with({"--max-queries", "0"}) > 1);
  CHECK(with({"--repetitions", "0"}) > 1);
  CHECK(with({"--colour", "red"}) > 1);
  CHECK(bench({"make"}) > 1);
  CHECK(bench({"make", "--out", dir.path("made.fbin"), "--intrinsic", "200"}) == 1);
  CHECK(bench({"make", "--out", dir.path("no/where.fbin"), "--rows", "1"}) == 1);
}

TEST_CASE("growth is fitted to the logarithm of the rows") {
  // 7 us, and 3 more for each doubling.
  std::vector<std::pair<double, double>> points;
  for (double rows : {1e4, 1e5, 1e6}) points.emplace_back(rows, 7 + 3 * std::log2(rows));
  Growth growth = fit_growth(points);
  CHECK(growth.at_one == doctest::Approx(7));
  CHECK(growth.each_doubling == doctest::Approx(3));
  CHECK(growth.fit == doctest::Approx(1));
  // Growing with the rows themselves is told apart.
  points.clear();
  for (double rows : {1e4, 1e5, 1e6}) points.emplace_back(rows, rows / 100);
  growth = fit_growth(points);
  CHECK(growth.fit < 0.9);
  CHECK(growth.fit > 0);
  CHECK(fit_growth({{10, 4}, {1000, 4}}).each_doubling == 0);
}

TEST_CASE("made-up vectors are the same for the same seed, and of the wanted shape") {
  ScratchDir dir;
  MakeOptions options;
  options.rows = 50;
  options.dimension = 8;
  options.intrinsic = 2;
  std::vector<std::string> files;
  for (uint64_t seed : {1, 1, 2}) {
    options.seed = seed;
    options.out = dir.path("made.fbin");
    REQUIRE(make_data(options).ok());
    files.push_back(read(options.out));
  }
  CHECK(files[0].size() == 8 + 50 * 8 * 4);
  CHECK(files[0] == files[1]);
  CHECK(files[0] != files[2]);
  auto matrix = load_matrix(options.out, 100);
  REQUIRE(matrix.ok());
  CHECK(matrix->rows == 50);
  CHECK(matrix->dimension == 8);
  for (float value : matrix->values) CHECK(std::isfinite(value));
  options.skip = 30;
  options.rows = 20;
  REQUIRE(make_data(options).ok());
  CHECK(read(options.out).substr(8) == files[2].substr(8 + 30 * 8 * 4));
  options.intrinsic = 0;
  CHECK(make_data(options).code() == Code::invalid_argument);
  options.intrinsic = 9;
  CHECK(make_data(options).code() == Code::invalid_argument);
  options.dimension = dimension_max + 1;
  CHECK(make_data(options).code() == Code::invalid_argument);
}

TEST_CASE("the report says to people and to programs the same") {
  std::string text;
  Report report([&](std::string_view more) { text += more; });
  std::string long_name(300, 'x');
  report.section("Of one thing");
  report.text("and another");
  report.fact("memory", 1234.56, "bytes");
  report.fact(long_name, 2.25, "times");
  report.ratio("a / b", {1.5, 1.25, 2}, "times");
  Point point;
  point.ef = 64;
  point.recall = 0.98765;
  point.rates = {1000, 3000};
  point.queries_per_second = 2000;
  point.p50_us = 11;
  point.p95_us = 12;
  point.p99_us = 13;
  report.curve({"some engine", {point}});
  report.note("workload", {{"rows", 7}});

  auto says = [&](const std::string& line) {
    CHECK_MESSAGE(text.find(line) != std::string::npos, text);
  };
  says("\nOf one thing\n");
  says("  and another\n");
  says("  memory                                         1234.6 bytes\n");
  says(long_name + "         2.25 times\n");
  says(" 1.50 (1.25 to 2.00) times\n");
  says("  some engine\n");
  says("      64   0.9877          2000         11       12       13\n");
  CHECK(text.find("workload") == std::string::npos);

  CHECK(report.facts() ==
        json::object{{"memory", 1234.56},
                     {long_name, 2.25},
                     {"a / b", {{"median", 1.5}, {"min", 1.25}, {"max", 2.0}}},
                     {"some engine", json::array{{{"ef", 64},
                                                  {"recall", 0.98765},
                                                  {"queries_per_second", 2000.0},
                                                  {"rounds", json::array{1000.0, 3000.0}},
                                                  {"p50_us", 11.0},
                                                  {"p95_us", 12.0},
                                                  {"p99_us", 13.0}}}},
                     {"workload", {{"rows", 7}}}});
}

TEST_CASE("a whole benchmark: the node, our index and the peers, as JSON") {
  ScratchDir dir;
  MakeOptions make;
  make.rows = 300;
  make.dimension = 8;
  make.intrinsic = 4;
  make.out = dir.path("base.fbin");
  REQUIRE(make_data(make).ok());
  make.rows = 20;
  make.seed = 2;
  make.out = dir.path("queries.fbin");
  REQUIRE(make_data(make).ok());
  // Widths in any order, and one of them twice.
  REQUIRE(bench({"--base", dir.path("base.fbin"), "--queries", dir.path("queries.fbin"), "--ef",
                 "128,10,128", "--clients", "1", "--repetitions", "2", "--json",
                 dir.path("out.json")}) == 0);
  json::object out = json::parse(read(dir.path("out.json"))).as_object();
  CHECK(out.at("workload") ==
        json::value{{"rows", 300}, {"dimension", 8}, {"queries", 20}, {"metric", "l2"}, {"k", 10}});
  for (const char* key : {"JSON body", "binary body", "in process", "memory per vector",
                          "binary body over HTTP / in process", "until all is indexed",
                          "start of the node, to ready", "jade index (sq8): build"}) {
    CAPTURE(key);
    REQUIRE(out.contains(key));
    CHECK(out.at(key).as_double() >= 0);
  }
  CHECK(out.at("binary body over HTTP / in process").as_double() ==
        doctest::Approx(out.at("binary body").as_double() / out.at("in process").as_double()));
  // Of 300 rows 0.1 % are too few to be searched for 10.
  CHECK(out.at("filters").as_array().size() >= 3 * 5);
  for (const json::value& row : out.at("filters").as_array()) {
    CHECK(row.at("recall").as_double() >= 0.95);
    CHECK(row.at("fewest_results").as_int64() == 10);
    CHECK(row.at("times_unfiltered").at("median").as_double() > 0);
  }
  REQUIRE(out.at("min_recall").as_array().size() == 8);
  for (const json::value& row : out.at("min_recall").as_array()) {
    CHECK(row.at("recall").as_double() >= row.at("min_recall").as_double());
  }
  size_t curves = 0, hnswlib = 0, ratios = 0;
  for (const auto& [key, value] : out) {
    CAPTURE(std::string(key));
    if (value.is_array() && key != "filters" && key != "min_recall") {
      ++curves;
      if (key.starts_with("hnswlib (")) ++hnswlib;
      REQUIRE(value.as_array().size() == 2);
      CHECK(value.at(0).at("ef").as_int64() == 10);
      CHECK(value.at(1).at("ef").as_int64() == 128);
      CHECK(value.at(1).at("recall").as_double() > 0.9);
      for (const json::value& point : value.as_array()) {
        CHECK(point.at("rounds").as_array().size() == 2);
        CHECK(point.at("queries_per_second").as_double() > 0);
        CHECK(point.at("p50_us").as_double() <= point.at("p99_us").as_double());
      }
    } else if (value.is_object() && value.as_object().contains("median")) {
      ++ratios;
      CHECK(value.at("min").as_double() > 0);
      CHECK(value.at("min").as_double() <= value.at("median").as_double());
      CHECK(value.at("median").as_double() <= value.at("max").as_double());
    }
  }
  for (const char* key :
       {"jade index (sq8)", "FAISS IndexHNSWFlat", "node in process, 1 client",
        "node over HTTP, 1 client", "written twice more, 1 client", "fresh, 1 client"}) {
    CHECK_MESSAGE(out.at(key).is_array(), key);
  }
  CHECK(curves == 7);
  CHECK(hnswlib == 1);
  CHECK(ratios >= 1);
  CHECK(out.contains("HTTP / in process, default ef, 1 client"));
}

}  // namespace jade
