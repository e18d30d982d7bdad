// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]
// Cores and values have no unsafe code at all, and the compiler holds them to it.
let pure = swiftSettings + [.strictMemorySafety()]

// LOCKSTEP_FAULTS=1 in the environment builds the planted faults that tests use; a product never has them.
let faults = Context.environment["LOCKSTEP_FAULTS"] == "1"
let product = swiftSettings + (faults ? [.define("LOCKSTEP_FAULTS")] : [])

let package = Package(
    name: "lockstep",
    products: [
        .executable(name: "lockstep", targets: ["lockstep"]),
        .executable(name: "lockstepd", targets: ["lockstepd"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    ],
    targets: [
        // Layer 0: C. The preload library (Sources/CInterposer) and the keeper (Sources/CKeeper) are linked by
        // tools/build with plain cc: SwiftPM would make every database process load the Swift runtime.
        .target(name: "CCaptureABI"),
        .target(name: "CLinux"),
        .target(name: "CUring", linkerSettings: [.linkedLibrary("uring")]),
        .target(name: "CLZ4", linkerSettings: [.linkedLibrary("lz4")]),
        .target(name: "CProcess"),
        // Layer 1
        .target(name: "Primitives", swiftSettings: pure),
        // Layer 2
        .target(name: "Platform", dependencies: ["CLinux", "Primitives"], swiftSettings: product),
        .target(name: "Frame", dependencies: ["CLZ4", "CLinux", "Primitives"], swiftSettings: product),
        .target(name: "Replication", dependencies: ["Primitives"],
            swiftSettings: pure + (faults ? [.define("LOCKSTEP_FAULTS")] : [])),
        // Layer 3
        .target(name: "Uring", dependencies: ["CUring", "Primitives", "Platform"], swiftSettings: product),
        .target(name: "Journal", dependencies: ["CLinux", "Primitives", "Platform", "Frame"], swiftSettings: product),
        .target(name: "Capture", dependencies: ["CCaptureABI", "CLinux", "Primitives", "Platform"],
            swiftSettings: product),
        .target(name: "Link", dependencies: ["Primitives", "Platform", "Frame"], swiftSettings: product),
        .target(name: "Replay", dependencies: ["CLinux", "Primitives", "Platform", "Replication"],
            swiftSettings: product),
        .target(name: "Control", dependencies: ["CProcess", "Primitives"], swiftSettings: product),
        .target(name: "Watch", dependencies: ["CLinux", "Primitives", "Platform"], swiftSettings: product),
        // Layer 4
        .target(name: "Node",
            dependencies: ["CCaptureABI", "CLinux", "Primitives", "Platform", "Frame", "Replication", "Uring", "Journal", "Capture",
                "Link", "Replay", "Control", "Watch"],
            swiftSettings: product),
        // Layer 5
        .executableTarget(name: "lockstepd",
            dependencies: ["Node", "Platform", "Primitives",
                .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: product),
        .executableTarget(name: "lockstep",
            dependencies: ["CProcess", "Control", "Primitives", "Platform", "Frame", "Journal", "Capture",
                .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: product),
        // A daemon that only answers: the command line is tested against it (see its head comment).
        .executableTarget(name: "lockstepd-double", dependencies: ["Control"], path: "Tests/DaemonDouble",
            swiftSettings: swiftSettings),
        .testTarget(name: "FrameTests", dependencies: ["Frame", "Primitives"], swiftSettings: swiftSettings),
        .testTarget(name: "JournalTests", dependencies: ["Journal", "Frame", "Platform", "Primitives"],
            swiftSettings: swiftSettings),
        .testTarget(name: "LinkTests", dependencies: ["Link", "Frame", "Primitives"], swiftSettings: swiftSettings),
        .testTarget(name: "UringTests", dependencies: ["CLinux", "Uring", "Platform"], swiftSettings: swiftSettings),
        .testTarget(name: "PlatformTests", dependencies: ["CLinux", "Platform"], swiftSettings: swiftSettings),
        .testTarget(name: "ReplayTests", dependencies: ["CLinux", "Replay", "Replication", "Platform", "Primitives"],
            swiftSettings: swiftSettings),
        .testTarget(name: "WatchTests", dependencies: ["CLinux", "Watch", "Platform", "Primitives"], swiftSettings: swiftSettings),
        .testTarget(name: "NodeTests", dependencies: ["Node", "CCaptureABI", "CLinux", "Capture", "Platform", "Primitives", "Replay", "Replication", "Watch"],
            swiftSettings: swiftSettings),
        .testTarget(name: "ReplicationTests", dependencies: ["Replication", "Primitives"], swiftSettings: swiftSettings),
        .testTarget(name: "ControlTests", dependencies: ["Control", "CCaptureABI", "CLinux"], swiftSettings: swiftSettings),
        .testTarget(name: "CommandTests", dependencies: ["lockstep", "lockstepd-double", "Control", "CProcess", "CCaptureABI", "CLinux", "Capture", "Frame", "Journal", "Platform", "Primitives"],
            exclude: ["Transcripts"],
            swiftSettings: swiftSettings),
        .testTarget(name: "CaptureTests", dependencies: ["Capture", "CCaptureABI", "Primitives"],
            swiftSettings: swiftSettings),
    ]
)
