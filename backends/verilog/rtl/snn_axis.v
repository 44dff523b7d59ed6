// What one coordinate of an event reaches: a list of at most SLOTS pairs {weight offset, target offset}, each
// with a multiplicity if GAIN > 1. LENGTH 0: events do not have this axis, and it adds nothing.
module snn_axis #(
    parameter LENGTH = 1,
    parameter SLOTS = 1,        // a power of two
    parameter PAIR = 2,
    parameter GAIN = 1,
    parameter COUNTS = "", parameter LIST = "", parameter GAINS = "",
    parameter COORDINATE = (LENGTH > 1) ? $clog2(LENGTH) : 1,
    parameter COUNT = $clog2(SLOTS + 1)
) (
    // an axis that is absent looks nothing up
    // verilator lint_off UNUSEDSIGNAL
    input wire clk,
    input wire take,            // look up the length of the list at coordinate
    input wire [COORDINATE-1:0] coordinate,
    input wire next,            // look up the pair in slot of the list that was taken
    input wire [COUNT-1:0] slot,
    // verilator lint_on UNUSEDSIGNAL
    output wire [COUNT-1:0] count,
    output wire [PAIR-1:0] pair,
    output wire [GAIN-1:0] gain
);
    generate
        if (LENGTH == 0) begin : absent
            assign count = 1'b1;
            assign pair = 0;
            assign gain = 1'b1;
        end else begin : present
            localparam DEPTH = LENGTH * SLOTS;
            localparam ADDRESS = (DEPTH > 1) ? $clog2(DEPTH) : 1;
            reg [COORDINATE-1:0] taken;
            always @(posedge clk) if (take) taken <= coordinate;
            // verilator lint_off WIDTH
            wire [ADDRESS-1:0] address = taken * SLOTS + slot;
            // verilator lint_on WIDTH
            snn_rom #(.WIDTH(COUNT), .DEPTH(LENGTH), .FILE(COUNTS)) counts (
                .clk(clk), .enable(take), .address(coordinate), .data(count)
            );
            snn_rom #(.WIDTH(PAIR), .DEPTH(DEPTH), .FILE(LIST)) list (
                .clk(clk), .enable(next), .address(address), .data(pair)
            );
            if (GAIN > 1) begin : multiplicity
                snn_rom #(.WIDTH(GAIN), .DEPTH(DEPTH), .FILE(GAINS)) gains (
                    .clk(clk), .enable(next), .address(address), .data(gain)
                );
            end else begin : unit
                assign gain = 1'b1;
            end
        end
    endgenerate
endmodule
